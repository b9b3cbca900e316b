"""What the pages under docs/ tell people to type is what the command line takes."""

import re
import shlex

import pytest

from conftest import ROOT
from experiments.cli import main as command_line

PAGES = sorted((ROOT / "docs").glob("*.md"))
LINES = [
    line.strip()
    for page in PAGES
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip().startswith("python -m experiments ")
]


def test_the_pages_name_the_verbs() -> None:
    verbs = {line.split()[3] for line in LINES}
    assert {"dashboard", "explain", "report"} <= verbs


@pytest.mark.parametrize("line", LINES)
def test_every_verb_line_is_accepted(line: str) -> None:
    words = shlex.split(line, comments=True)[3:]
    given, rest = command_line._parser().parse_known_args(words)
    assert callable(given.command)
    assert not rest or hasattr(given, "overrides"), rest
