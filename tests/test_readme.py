"""What the documents tell people to type is legal, and the commands they name exist."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import ROOT, load
from experiments.cli.main import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [README, *(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").glob("*.md")))]
BLOCKS = [b for text in DOCUMENTS for b in re.findall(r"^```\n(.*?)^```", text, re.S | re.M)]
COMMANDS = [line.strip() for block in BLOCKS for line in block.splitlines()]
TRAIN = [c for c in COMMANDS if c.startswith("python train.py")]


@pytest.mark.parametrize("command", TRAIN)
def test_every_training_line_is_a_legal_run(command: str) -> None:
    words = shlex.split(command)[2:]
    given = [w for w in words if "=" in w and not w.startswith(("sweeps=", "hydra"))]
    # One job of a sweep: the first value of each list, the low end of an interval.
    first = [
        f"{one.get_key_element()}={next(one.sweep_string_iterator())}"
        if one.is_discrete_sweep()
        else re.sub(r"=.*interval\(([^,]+),.*", r"=\1", str(one.input_line))
        for one in OverridesParser.create().parse_overrides(given)
    ]
    assert load(*first)


def test_the_first_screen_is_the_two_commands_and_their_table() -> None:
    screen = README[:2600]
    assert "make demo\nmake test" in screen
    assert "tuned - base" in screen


def test_the_readme_links_the_verdicts_and_shows_none() -> None:
    assert README.count("(outputs/reports/claims/README.md)") == 1
    assert "does not hold here" not in README and "| verdict on" not in README


def test_every_make_target_that_is_named_exists() -> None:
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    named = {w for line in re.findall(r"`?make ([a-z -]+)", text) for w in line.split()}
    assert {"demo", "test", "check"} <= targets
    assert {
        w for w in named if w in ("demo", "check", "test", "test-slow", "bench", "help")
    } <= targets


def test_every_sweep_and_verb_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    everything = "\n".join(DOCUMENTS)
    for name in re.findall(r"-m sweeps=([a-z0-9_/]+)", everything):
        assert (ROOT / "sweeps" / f"{name}.yaml").is_file()
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = capsys.readouterr().out
    for verb in re.findall(r"python -m experiments ([a-z]+)", everything):
        assert verb in helped


def test_the_readme_is_short_and_of_this_project_alone() -> None:
    assert len(README.splitlines()) <= 250
    assert not re.search(r"(^|[^\w.])/(home|root|work|tmp)/", README)
    assert Path(ROOT / "LICENSE").is_file()
