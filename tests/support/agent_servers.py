"""The servers that tests start: real ones, in environments that are built once per machine."""

from collections.abc import Iterator

import pytest

from experiments.agents import sandbox, server_environments, server_group, server_specs
from experiments.agents.server_environments import RegistryUnreachable
from experiments.agents.server_group import ServerGroup


@pytest.fixture(scope="session")
def python_servers() -> None:
    """Build the environments of the Python servers; skip if the registry cannot be reached."""
    pytest.importorskip("mcp")
    try:
        for environment in ("python_sdk1", "python_sdk2"):
            server_environments.build(environment)
    except RegistryUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def node_servers() -> None:
    """Build the environment of the npm servers; skip without Node or the registry."""
    pytest.importorskip("mcp")
    if server_environments.missing_program("node"):
        pytest.skip("npm is not installed")
    try:
        server_environments.build("node")
    except RegistryUnreachable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def bwrap() -> str:
    """Skip where bubblewrap cannot make a sandbox, which is found by making one."""
    if problem := sandbox.bwrap_problem():
        pytest.skip(f"bubblewrap does not work here: {problem}")
    return sandbox.resolved("bwrap")


@pytest.fixture(scope="session")
def servers(python_servers: None, node_servers: None, bwrap: str) -> Iterator[ServerGroup]:
    """Start the six servers in the sandbox, once for all tests of a worker."""
    with server_group.started(server_specs.read_all(), bwrap) as group:
        yield group
