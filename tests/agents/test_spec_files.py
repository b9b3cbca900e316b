"""A spec file is read key by key, and a mistake names the file and what it may have."""

from pathlib import Path

import pytest

from experiments.agents import spec_files
from experiments.agents.agent_specs import AgentSpec
from experiments.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a mapping of keys"),
        ("- react", "is not a mapping of keys"),
        ("kind: react\nmax_turn: 3", "key 'max_turn': did you mean 'max_turns'"),
        ("max_turns: 3", "kind must be set"),
        ("kind: [", "cannot be read as a spec of the agent"),
        ("kind: react\nname: other", "key 'name'"),
    ],
)
def test_a_file_that_is_no_spec_is_refused_in_a_sentence(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        spec_files.read(path, AgentSpec, "agent")


def test_the_name_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("kind: react\nmax_turns: 3")
    assert spec_files.read(path, AgentSpec, "agent") == AgentSpec("mine", "react", max_turns=3)
