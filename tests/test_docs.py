"""What the pages under docs/ tell people to type is what the command line takes."""

import re
import shlex
import subprocess
from pathlib import Path

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

FILES = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
FILE_NAME = re.compile(r"[\w./-]+\.(py|ya?ml|jinja|ipynb|toml|md)")
NOT_OURS = {"optimization_results.yaml", "utils.py"}  # Optuna's sweeper writes the one


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in ("log.md", "renamed.md")]
    + [ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda page: page.name,
)
def test_every_file_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`([^`\s]+)`", page.read_text(encoding="utf-8"))
    gone = {
        name
        for name in named
        if FILE_NAME.fullmatch(name)
        and not re.search("NAME|FILE|[A-Z]{3,}", name)
        and not any(f"/{file}".endswith(f"/{name.removeprefix('./')}") for file in FILES)
    }
    assert gone <= NOT_OURS


def test_the_pages_name_the_verbs() -> None:
    verbs = {line.split()[3] for line in LINES}
    assert {"dashboard", "explain", "report"} <= verbs


@pytest.mark.parametrize("line", LINES)
def test_every_verb_line_is_accepted(line: str) -> None:
    words = shlex.split(line, comments=True)[3:]
    given, rest = command_line._parser().parse_known_args(words)
    assert callable(given.command)
    assert not rest or hasattr(given, "overrides"), rest
