"""A sweep keeps its budget: it ends with a table of what there is, and the same line goes on."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import FEW_ROWS, ROOT, environment
from experiments import records, reports
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.sweeps import plan
from experiments.sweeps.hydra import deadline as runtime
from experiments.sweeps.hydra import job_batch
from experiments.sweeps.launching.sweep_job import SweepJob
from support import commands, spent_budget

LINE = ("-m", *FEW_ROWS, "hydra.sweep.dir=out", "trainer.max_steps=8")


def test_the_first_seed_of_every_arm_comes_before_the_second_of_any() -> None:
    given = [SweepJob(n, (), f"run {n}", arm) for n, arm in enumerate("aaabbbcc")]
    assert [job.number for job in job_batch.seeds_in_turn(given)] == [0, 3, 6, 1, 4, 7, 2, 5]


@pytest.mark.parametrize(
    "override", ["budget.hours=1,2", "hub.repo=me/a,me/b", "resume_from=one,other"]
)
def test_what_a_sweep_has_one_of_is_not_varied(override: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    parsed = OverridesParser.create().parse_overrides([override])
    with pytest.raises(ConfigError) as caught:
        runtime.ends_at(parsed, OmegaConf.create({}))
    key = override.partition("=")[0]
    assert str(caught.value) == (
        f"{override}: a sweep has one {key} for all its runs; give one value."
    )


def write(folder: Path, arm: str, seed: int, status: str = "finished") -> Record:
    record = Record(f"{arm}{seed}", status=status, folder=folder, job=seed, plan={"steps": 30})
    record.config = {"seed": seed, "lora": {"r": arm}}
    record.overrides = [f"lora.r={arm}", f"seed={seed}"]
    if status == "finished":
        record.scores = {"tuned": {"calls/exact": 0.5 + seed / 10}}
    elif status == "interrupted":
        record.error = {"type": "OutOfBudget", "message": "", "step": 12}
    return record


def test_the_table_marks_arms_that_are_not_whole_and_a_report_of_it_can_be_made_again(
    tmp_path: Path,
) -> None:
    for n, (arm, seed, status) in enumerate(
        [("4", 0, "finished"), ("8", 0, "finished"), ("4", 1, "interrupted")]
    ):
        records.write(write(tmp_path / "out" / str(n), arm, seed, status))
    missing = [write(Path(), arm, 1, records.NOT_BEGUN) for arm in ("8", "16")]
    text = reports.summarise(tmp_path / "out", missing)
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("lora.r=")}
    assert re.search(r"^lora.r=4 +1 of 2 +0.500", rows["lora.r=4"])
    assert re.search(r"^lora.r=8 +1 of 2 +0.500", rows["lora.r=8"])
    assert re.search(r"^lora.r=16 +0 of 1 +- +-", rows["lora.r=16"])
    assert "2 finished, 1 interrupted, 2 not begun." in text
    assert "Unfinished: lora.r=4: seed 1 interrupted at step 12 of 30; rerun" in text
    assert "Unfinished: lora.r=16: seed 1 not begun; rerun the same command to resume." in text
    reports.write(tmp_path / "out", tmp_path / "report", missing)
    made = (tmp_path / "report" / "README.md").read_bytes()
    reports.write(tmp_path / "report", tmp_path / "report")
    assert (tmp_path / "report" / "README.md").read_bytes() == made
    assert b"0 of 1" in made


def status(sweep: Path) -> dict[str, tuple[str, int]]:
    return {
        r.folder.name: (r.config["lora"]["label"], r.config["seed"])
        for r in records.read_all(sweep)
        if r.status == "finished"
    }


def start(folder: Path, program: Path, *line: str) -> "subprocess.CompletedProcess[str]":
    return commands.run(
        [sys.executable, str(program), *LINE, *line, "budget.hours=1"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def twice(folder: Path, *line: str) -> list[str]:
    """Start a line whose time is over at the first checkpoint, and again; return what was said."""
    interrupted = spent_budget.write(folder, "out/*/checkpoints/*/trainer_state.json")
    first = start(folder, interrupted, *line)
    assert first.returncode == 75, first.stdout + first.stderr
    assert first.stderr == ""
    assert not {r.status for r in records.read_all(folder / "out")} - {"finished", "interrupted"}
    last = first.stdout.splitlines()
    assert last[-2].startswith("budget.hours is spent; out: ")
    assert last[-2].endswith(" Rerun the same command to resume:")
    assert last[-1].startswith("  python train.py -m model=tiny_64 trainer=smoke")
    second = start(folder, ROOT / "train.py", *line)
    assert second.returncode == 0, second.stdout + second.stderr
    return [first.stdout, second.stdout]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["one_process", "joblib"])
def test_a_grid_ends_in_time_and_goes_on_with_the_same_line(tmp_path: Path, launcher: str) -> None:
    out = tmp_path / "out"
    line = ["lora=all_linear,qv", "seed=0,1", f"hydra/launcher={launcher}"]
    said = twice(tmp_path, *line)
    begun = dict.fromkeys(re.findall(r"^\t#(\d)", "".join(said), re.M))
    assert list(begun) == ["0", "2", "1", "3"]
    assert status(out) == {"0": ("all_linear", 0), "1": ("all_linear", 1), "2": ("qv", 0),
                           "3": ("qv", 1)}  # fmt: skip
    assert "Unfinished" not in said[-1]
    assert plan.not_begun(out) == []


@pytest.mark.slow
def test_a_search_ends_in_time_and_goes_on_with_the_same_line(tmp_path: Path) -> None:
    import optuna

    line = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=4",
            "trainer.learning_rate=tag(log,interval(1e-4,1e-2))"]  # fmt: skip
    twice(tmp_path, *line)
    study = optuna.load_study(study_name="out", storage=f"sqlite:///{tmp_path}/out/study.db")
    assert [t.state.name for t in study.get_trials()] == ["COMPLETE"] * 4
    found = {r.folder.name: r.status for r in records.read_all(tmp_path / "out")}
    assert found == dict.fromkeys("0123", "finished")
    assert json.loads((tmp_path / "out" / ".sweep.json").read_text())["total"] == 4
