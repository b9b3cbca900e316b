"""Killed, edited or shared, a sweep pays for each run once and writes over none."""

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from safetensors.numpy import load_file, save_file

from conftest import FEW_ROWS, ROOT, environment
from experiments import records
from experiments.sweeps.study.space import key
from support import commands
from support.long_runs import KILLS

pytestmark = pytest.mark.slow
QUICK = (*FEW_ROWS, "trainer.max_steps=2", "trainer.eval_steps=2")
SEARCH = (
    *("-m", *QUICK, "hydra/sweeper=optuna", "hydra.sweep.dir=out", "hydra/sweeper/sampler=random"),
    *("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=2"),
    *("hydra.sweeper.n_trials=5", "lora.r=choice(4,8)"),
    *("trainer.learning_rate=tag(log,interval(1e-7,1e-2))", "trainer.max_steps=4"),
    "trainer.eval_steps=1",
)


def start(folder: Path, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    return commands.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def finish(folder: Path, *arguments: str, **env: str) -> str:
    process = start(folder, *arguments, **env)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def made(sweep: Path) -> dict[str, records.Record]:
    return {file.parent.name: records.read(file) for file in sorted(sweep.glob("*/run.json"))}


def trials(sweep: Path) -> list[Any]:
    study = optuna.load_study(study_name=sweep.name, storage=f"sqlite:///{sweep / 'study.db'}")
    return study.get_trials()


def check_search(sweep: Path, total: int) -> None:
    found = trials(sweep)
    settled = [t for t in found if t.state.name in ("COMPLETE", "PRUNED")]
    assert len(settled) == total
    assert len({key(t.params) for t in settled}) == total
    # A process that dies while it asks leaves a number that never was a run.
    assert all(t.state.name == "FAIL" and not t.user_attrs.get("status")
               for t in found if t not in settled)  # fmt: skip
    runs = made(sweep)
    assert sorted(runs) == sorted(str(t.number) for t in settled)
    assert len({r.run_id for r in runs.values()}) == total
    wanted = {"COMPLETE": "finished", "PRUNED": "pruned"}
    assert {str(t.number): wanted[t.state.name] for t in settled} == {
        name: r.status for name, r in runs.items()
    }
    for trial in settled:
        if trial.state.name == "COMPLETE":
            assert trial.value == runs[str(trial.number)].objective["value"]
    assert {p.name for p in sweep.iterdir() if p.is_dir() and not p.name.startswith(".")} == set(
        runs
    )


def killed_after(process: "subprocess.Popen[str]", lines: int, seconds: float) -> bool:
    """Kill a process soon after some lines of its output; False if it ended before."""
    assert process.stdout is not None
    for _ in itertools.islice(process.stdout, lines):
        pass
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL


@pytest.mark.random_kills
def test_a_search_killed_at_random_moments_ends_with_its_total(tmp_path: Path) -> None:
    chance = random.Random(5)
    line = (*SEARCH, "hydra.sweeper.n_trials=8", "trainer.max_steps=8")
    # About 30 lines a trial with the header, so the kills fall into all phases of 8 trials.
    for _ in range(KILLS):
        process = start(tmp_path, *line)
        assert killed_after(
            process, chance.randint(1, 40 if KILLS < 20 else 24), chance.random()
        ), "it ended before"
    out = finish(tmp_path, *line)
    assert "8 finished" not in out, "nothing was pruned"
    assert "step " not in finish(tmp_path, *line)  # nothing is left to train
    check_search(tmp_path / "out", total=8)


@pytest.mark.nightly
def test_two_workers_share_a_search_and_one_takes_over_from_the_other(tmp_path: Path) -> None:
    one, other = start(tmp_path, *SEARCH), start(tmp_path, *SEARCH)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(r.status in records.SETTLED for r in made(tmp_path / "out").values()):
            break
        time.sleep(0.2)
    one.send_signal(signal.SIGKILL)
    one.communicate(timeout=60)
    out, _ = other.communicate(timeout=300)
    assert other.returncode == 0, out
    check_search(tmp_path / "out", total=5)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    file = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"say {i}", "completion": f"{i} it is"} for i in range(24)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    smoke = [text for text in QUICK if not text.startswith("data.")]
    yield (
        *("-m", "hydra.sweep.dir=out", "seed=0", *smoke, "data=jsonl", f"data.path={file}"),
        "data.test_share=0.2",
    )


def ends_beside(tmp_path: Path, line: tuple[str, ...], named: str, **env: str) -> None:
    """Run the line again; expect the run anew beside the old record, for a named reason."""
    folder = tmp_path / "out" / "0"
    before = (folder / "run.json").read_bytes()
    out = finish(tmp_path, *line, **env)
    assert out.count(f"but {named} changed since: run again beside it") == 1, out
    assert sorted(made(tmp_path / "out")) == ["0", "0_2"]
    assert (folder / "run.json").read_bytes() == before
    assert (tmp_path / "out" / "0_2" / ".hydra" / "config.yaml").is_file()


def test_an_edited_row_is_named_and_the_run_made_beside_the_old_one(
    tmp_path: Path, rows: tuple[str, ...]
) -> None:
    finish(tmp_path, *rows)
    file = tmp_path / "rows.jsonl"
    file.write_text(file.read_text().replace("3 it is", "three it is", 1))
    ends_beside(tmp_path, rows, "data_fingerprint")
    again = finish(tmp_path, *rows)
    assert "changed since" not in again
    assert again.count("finished before in") == 1


def test_an_edited_weight_is_named_and_the_run_made_beside_the_old_one(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "src/experiments/models/bases/tiny", model)
    line = ("-m", "hydra.sweep.dir=out", "seed=0", *QUICK, "model=local", f"model.path={model}")
    finish(tmp_path, *line)
    weights = load_file(model / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].reshape(-1)[0] += 0.25
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    ends_beside(tmp_path, line, "base_sha256")


def test_an_edited_trainer_is_named_and_the_run_made_beside_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conf", "sweeps"):  # a checkout has them beside its sources
        (source.parent / name).symlink_to(ROOT / name)
    line = ("-m", "hydra.sweep.dir=out", "seed=0", *QUICK)
    finish(tmp_path, *line, PYTHONPATH=str(source))
    with (source / "experiments" / "analysis" / "statistics" / "intervals.py").open("a") as file:
        file.write("# a line that changes no score\n")
    assert "changed since" not in finish(tmp_path, *line, PYTHONPATH=str(source))
    with (source / "experiments" / "training" / "sft_trainer.py").open("a") as file:
        file.write("# a line of the trainer\n")
    assert "changed since" not in finish(tmp_path, *line, PYTHONPATH=str(source))
    steps = source / "experiments" / "training" / "steps.py"
    text = steps.read_text()
    assert "_POOL_BATCHES = 8" in text
    steps.write_text(text.replace("_POOL_BATCHES = 8", "_POOL_BATCHES = 4"))
    ends_beside(tmp_path, line, "training_code", PYTHONPATH=str(source))


def test_an_edited_sweep_leaves_the_folders_of_other_runs_as_they_are(tmp_path: Path) -> None:
    line = ("-m", "hydra.sweep.dir=out", *QUICK)
    finish(tmp_path, *line, "seed=0,1")
    before = {p: p.read_bytes() for p in (tmp_path / "out").glob("*/.hydra/*.yaml")}
    out = finish(tmp_path, *line, "seed=2,1")
    assert "finished before in out/1" in out.replace(str(tmp_path) + "/", "")
    seeds = {name: record.config["seed"] for name, record in made(tmp_path / "out").items()}
    assert seeds == {"0": 0, "1": 1, "0_2": 2}
    kept = {p: p.read_bytes() for p in before if "/0/" in str(p)}
    assert kept == {p: content for p, content in before.items() if "/0/" in str(p)}
    saved = (tmp_path / "out" / "0_2" / ".hydra" / "overrides.yaml").read_text()
    assert "- seed=2" in saved


def test_a_run_out_of_memory_is_left_alone_until_it_is_asked_for(tmp_path: Path) -> None:
    line = ("-m", "hydra.sweep.dir=out", "seed=0", *QUICK)
    finish(tmp_path, *line)
    record = records.read(tmp_path / "out" / "0" / "run.json")
    record.status, record.error = "oom", {"type": "OutOfMemoryError", "message": "out of memory"}
    records.write(record)
    process = start(tmp_path, *line)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "1 oom" in out
    assert records.read(record.path).status == "oom"
    finish(tmp_path, *line, "retry_oom=true")
    assert records.read(record.path).status == "finished"


def test_a_file_edited_while_a_sweep_runs_reaches_none_of_its_jobs(tmp_path: Path) -> None:
    file = tmp_path / "sweeps" / "mine.yaml"
    file.parent.mkdir()
    text = (
        "# @package _global_\nlora:\n  lora_dropout: {}\nhydra:\n  sweeper:\n    params:\n"
        "      seed: 0,1\n"
    )
    file.write_text(text.format("0.0"))
    line = ("-m", "sweeps=mine", *QUICK)
    process = start(tmp_path, *line, EXPERIMENTS_ROOT=str(tmp_path))
    assert process.stdout is not None
    for shown in process.stdout:
        if shown.startswith("step "):
            break
    file.write_text(text.format("0.1"))
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    runs = made(tmp_path / "outputs" / "mine")
    assert [r.config["lora"]["lora_dropout"] for r in runs.values()] == [0.0, 0.0]
