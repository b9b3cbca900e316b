"""What a server may do in the sandbox, and what a call to one that misbehaves returns."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from experiments.agents import server_group
from experiments.agents.running_server import ServerError
from experiments.agents.server_group import ServerGroup
from experiments.errors import ConfigError
from support import odd_servers


@pytest.fixture(scope="module")
def odd(python_servers: None, bwrap: str) -> Iterator[ServerGroup]:
    with server_group.started({"odd": odd_servers.spec()}, bwrap, call_timeout_s=1) as group:
        yield group


def test_a_server_writes_only_into_the_episode_folder(odd: ServerGroup, tmp_path: Path) -> None:
    inside = odd.call("odd", "write", {"path": "/episode/files/a.txt"})
    assert inside.outcome == "ok"
    assert (odd.folder.place.folder / "files/a.txt").is_file()
    for path in ("/usr/a.txt", "/etc/a.txt", "/environment/a.txt", str(tmp_path / "a.txt")):
        assert odd.call("odd", "write", {"path": path}).outcome == "error", path
    odd.call("odd", "write", {"path": "/episode/../a.txt"})
    assert not any(folder.exists() for folder in (Path("/a.txt"), tmp_path / "a.txt"))


def test_a_server_reads_neither_the_user_s_files_nor_variables(
    odd: ServerGroup, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s")
    for path in (str(tmp_path / "secret"), __file__, "/etc/passwd", str(Path.home())):
        assert odd.call("odd", "read", {"path": path}).outcome == "error", path
    seen = odd.call("odd", "variables", {}).text.split()
    assert set(seen) <= {"EXPERIMENTS_SERVER", "HOME", "LANG", "PATH", "PWD"}


def test_a_server_has_no_network_not_even_this_machine_s(odd: ServerGroup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        result = odd.call("odd", "connect", {"port": listening.getsockname()[1]})
    assert result.outcome == "error"


def test_memory_and_file_size_are_limited(odd: ServerGroup) -> None:
    assert odd.call("odd", "allocate", {"gigabytes": 3}).outcome == "error"
    given = {"path": "/episode/files/big", "megabytes": 80}
    assert odd.call("odd", "write", given).outcome in ("error", "dead")
    assert (odd.folder.place.folder / "files/big").stat().st_size <= 64 << 20


def test_a_long_result_is_cut_and_other_blocks_are_named(odd: ServerGroup) -> None:
    text = odd.call("odd", "long", {"megabytes": 3}).text
    assert text.endswith("x [cut]") and len(text) < 17_000
    assert odd.call("odd", "image", {}).text == "[image]"
    assert odd.call("odd", "nothing", {}).outcome == "ok"


def test_after_a_hang_or_a_death_no_process_is_left_and_the_next_call_works(
    odd: ServerGroup,
) -> None:
    assert odd.call("odd", "nothing", {}).outcome == "ok"
    before = _processes()
    assert odd.call("odd", "spawn", {}).outcome == "ok"
    spawned = _processes() - before
    assert spawned
    for tool, outcome in (("hang", "timeout"), ("die", "dead")):
        assert odd.call("odd", "nothing", {}).outcome == "ok"
        started = _processes()
        assert odd.call("odd", tool, {}).outcome == outcome
        assert started - _processes()
        assert not spawned & _processes()
    assert odd.call("odd", "nothing", {}).outcome == "ok"


def _processes() -> set[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return {p for p in found if p.status() != psutil.STATUS_ZOMBIE}


def test_a_line_on_stdout_that_is_no_message_is_skipped(python_servers: None, bwrap: str) -> None:
    with server_group.started({"odd": odd_servers.that_prints()}, bwrap) as group:
        assert group.call("odd", "nothing", {}).outcome == "ok"


def test_a_server_that_dies_or_stays_silent_at_the_start_is_named_with_the_reason(
    python_servers: None, bwrap: str
) -> None:
    before = _processes()
    with (
        server_group.started({"odd": odd_servers.that_dies()}, bwrap) as group,
        pytest.raises(ServerError, match="odd did not start: no licence found"),
    ):
        group.info("odd")
    with (
        server_group.started({"odd": odd_servers.that_is_silent()}, bwrap) as group,
        pytest.raises(ServerError, match="no listing of tools within 2 s"),
    ):
        group.info("odd")
    assert _processes() <= before


def test_a_changed_listing_is_an_error_that_names_the_tools(
    python_servers: None, bwrap: str
) -> None:
    before = _processes()
    pinned = odd_servers.spec(tools={"hang": "0" * 12, "fly": "0" * 12})
    with (
        server_group.started({"odd": pinned}, bwrap) as group,
        pytest.raises(ServerError, match=r"changed: hang; missing: fly; added: die, long, write"),
    ):
        group.info("odd")
    assert _processes() <= before


def test_without_a_sandbox_only_servers_without_files_start(python_servers: None) -> None:
    with (
        server_group.started({"odd": odd_servers.spec()}, "stateless") as group,
        pytest.raises(ConfigError, match="server odd writes files"),
    ):
        group.info("odd")


def test_without_a_sandbox_paths_are_told_as_in_one(python_servers: None) -> None:
    before = _processes()
    with server_group.started({"odd": odd_servers.spec()}, "none", call_timeout_s=1) as group:
        assert group.call("odd", "write", {"path": "/episode/files/a"}).outcome == "ok"
        assert (group.folder.place.folder / "files/a").is_file()
        told = group.call("odd", "folder", {}).text
        assert told == "/episode"
        assert group.call("odd", "hang", {}).outcome == "timeout"
    assert _processes() <= before
