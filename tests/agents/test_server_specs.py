"""Files of `conf/servers`: what is read, and what is refused with its reason."""

from pathlib import Path

import pytest

from experiments.agents import server_environments, server_specs
from experiments.errors import ConfigError

GOOD = "environment: node\ncommand: [node, a.js]\nstateful: true\n"


def test_the_six_servers_are_found_and_each_pins_its_tools() -> None:
    specs = server_specs.chosen([])
    assert set(specs) == {"filesystem", "git", "math", "memory", "sqlite", "time"}
    assert sum(len(spec.tools) for spec in specs.values()) == 59
    assert all(set(spec.writes) <= set(spec.tools) for spec in specs.values())


def test_an_unknown_server_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="server 'sqlit': did you mean 'sqlite'"):
        server_specs.chosen(["sqlit"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "colour: red\n", "key 'colour'"),
        (GOOD.replace("node\n", "nod\n", 1), "environment=nod: did you mean 'node'"),
        (GOOD.replace("[node, a.js]", "node a.js"), "command='node a.js' must be a list of words"),
        (GOOD + "error_text: '('\n", "error_text='\\(' must be a regular expression"),
        (GOOD + "cpu_seconds: -1\n", "cpu_seconds=-1 must be a positive number"),
        ("environment: node\n", "command, stateful must be set"),
        ("[1]\n", "is not a mapping"),
        ("{", "cannot be read as a spec of the server"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        server_specs.read(path)


def test_a_name_with_two_underscores_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my__server.yaml"
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match="name='my__server' must be a file name without `__`"):
        server_specs.read(path)


def test_an_environment_that_is_not_built_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"python_sdk1 is not built .*make servers"):
        server_environments.built("python_sdk1")


def test_without_node_the_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="environment node needs node, which is not installed"):
        server_environments.build("node")
