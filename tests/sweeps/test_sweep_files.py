"""Every sweep file composes, names what it varies, and passes the check before the first run."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from experiments.config import RunConfig
from experiments.sweeps.hydra import dry_run

# A `_base` is what the sweeps of its folder share, and varies nothing.
FILES = sorted(file for file in (ROOT / "sweeps").glob("**/*.yaml") if file.stem != "_base")
DECISIONS = [file for file in FILES if file.parent.name == "decisions"]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT / "sweeps").with_suffix("").as_posix()


def checked(*words: str) -> list[RunConfig]:
    """Return the jobs of a sweep, or the arms of a tuned one, as the sweeper checks them."""
    return [run for _, run in dry_run.read(words, ROOT / "conf").runs]


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_sweep_file_says_what_it_varies_and_its_jobs_are_legal(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    name = name_of(file)
    assert name not in ("reports", "single", "trackio")
    runs = checked(f"sweeps={name}")
    assert len(runs) > 1
    assert file not in DECISIONS or all(run.model.embedded for run in runs)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n")  # below another comment Hydra ignores it
    assert "mode" not in yaml.safe_load(text).get("hydra", {})


@pytest.mark.slow
@pytest.mark.parametrize("file", DECISIONS, ids=name_of)
def test_the_line_for_a_t4_in_a_decision_is_legal(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    text = file.read_text(encoding="utf-8")
    [line] = re.findall(r"^#   python train\.py -m (.*)$", text, re.MULTILINE)
    runs = checked(*shlex.split(line))
    assert f"sweeps={name_of(file)} " in line
    assert len(runs) > 1
    for run in runs:
        assert run.hardware.label == "t4"
        assert run.model.hub_id is not None
        assert any(one.source == "hub" for one in [run.data, *run.data.sources.values()])
