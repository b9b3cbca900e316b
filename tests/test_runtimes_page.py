"""What docs/runtimes.md tells people to type is legal, and its keys exist."""

import re
import shlex

import pytest

from conftest import ROOT, load
from experiments.cli.main import main

PAGE = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, re.S | re.M)
COMMANDS = [line.strip() for block in BLOCKS for line in block.splitlines()]
TRAIN = [c for c in COMMANDS if c.startswith("python train.py")]


@pytest.mark.parametrize("command", TRAIN)
def test_every_training_line_is_a_legal_run(command: str) -> None:
    words = [w for w in shlex.split(command)[2:] if "=" in w and not w.startswith("hydra.")]
    first = [f"{k}={v.split(',')[0]}" for k, _, v in (w.partition("=") for w in words)]
    assert load(*first)


def test_every_verb_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = capsys.readouterr().out
    for verb in re.findall(r"python -m experiments ([a-z]+)", PAGE):
        assert f"\n    {verb} " in helped


def test_every_key_of_the_hub_has_its_line() -> None:
    from dataclasses import fields

    from experiments.config import HubConfig

    assert re.findall(r"^\| `hub\.(\w+)` ", PAGE, re.M) == [f.name for f in fields(HubConfig)]
