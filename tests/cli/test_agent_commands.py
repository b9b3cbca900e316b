"""The commands `servers`, `tasks` and `episodes`, as a user types them."""

import gzip
import json
from pathlib import Path

import pytest

from conftest import Cli
from experiments.cli import main as command_line


def test_servers_prints_version_protocol_tools_and_hash(
    python_servers: None, bwrap: str, cli: Cli
) -> None:
    done = cli("servers", "time", "math", module=True)
    assert done.returncode == 0, done.stderr
    assert "time 2026.10.19, protocol 2026-07-28, 2 tools, listing " in done.stdout
    assert "convert_time" in done.stdout and "sandbox: bwrap" in done.stdout


def test_episodes_writes_equal_transcripts_each_time(
    python_servers: None, node_servers: None, bwrap: str, cli: Cli, tmp_path: Path
) -> None:
    contents = []
    for name in "ab":
        out = tmp_path / name
        done = cli("episodes", "--agent", "replay", "--limit", "4", "--out", str(out), module=True)
        assert done.returncode == 0, done.stderr
        assert "episode/success           1.000" in done.stdout
        contents.append(gzip.decompress((out / "items.jsonl.gz").read_bytes()))
    assert contents[0] == contents[1]
    facts = json.loads((tmp_path / "a" / "episodes.json").read_text())
    assert facts["sandbox"] == "bwrap" and facts["scores"]["episode/success"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["servers", "tim"], "server 'tim': did you mean 'time'"),
        (["servers", "--sandbox", "docker"], "sandbox=docker: allowed are auto, bwrap, none"),
        (["tasks", "--count", "0"], "--count 0: give a positive number"),
        (["tasks", "nowhere.jsonl"], "nowhere.jsonl cannot be read as tasks"),
        (["tasks", "nowhere.jsonl", "--seed", "2"], "--seed and --count choose built-in tasks"),
        (["episodes", "--agent", "reakt"], "agent 'reakt': did you mean 'react'"),
        (["episodes", "--agent", "react"], "agent react needs one model"),
        (["episodes", "--agent", "replay", "model=tiny"], "agent replay uses no model"),
        (["episodes", "--split", "tests"], "--split tests: did you mean 'test'"),
        (["episodes", "--agent", "replay", "--limit", "0"], "--limit 0: give a positive number"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mcp")
    assert command_line.main(words) == 1
    assert message in capsys.readouterr().err
