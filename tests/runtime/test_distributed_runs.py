"""Runs of `accelerate launch train.py` with two CPU processes are the runs of one process."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from conftest import ROOT, SMOKE, environment, load
from experiments import records, runs
from experiments.records import Record
from experiments.runs import Job
from support import commands, spent_budget

pytestmark = pytest.mark.slow
# SGD, because Adam divides by the gradient's size: where a gradient is rounding, a step is not.
RUN = (
    *(*SMOKE, "trainer.logging_steps=1", "trainer.keep=all", "trainer.micro_batch_size=1"),
    *("trainer.optimizer=sgd", "trainer.learning_rate=0.5", "trainer.eval_steps=2"),
    "eval.test_steps=[1,2]",
)
LAUNCH = (
    *("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
)


def start(
    folder: Path, *arguments: str, program: Path = ROOT / "train.py", fresh: bool = False
) -> Any:
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, str(program)]
    popen = subprocess.Popen if fresh else commands.Popen
    return popen(
        [*command, *arguments], cwd=folder, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return str(out)


def weights(record: Record) -> np.ndarray[Any, Any]:
    file = record.folder / "adapter" / "adapter_model.safetensors"
    return np.concatenate([w.reshape(-1) for _, w in sorted(load_file(file).items())])


def distance(one: Record, other: Record) -> float:
    """Return the relative distance of two adapters."""
    return float(np.linalg.norm(weights(one) - weights(other)) / np.linalg.norm(weights(one)))


def losses(record: Record, name: str = "loss") -> list[float]:
    return [point[name] for point in record.curve if name in point]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("alone")
    return runs.run_one(load(*RUN), Job(folder / "run")).record


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Record]:
    folder = tmp_path_factory.mktemp("together")
    project = ("tracker=trackio", "tracker.project=two")
    out = finish(folder, *RUN, *project, "hydra.run.dir=out/run")
    return out, records.read(folder / "out/run/run.json")


def test_two_processes_make_the_run_of_one(alone: Record, said: tuple[str, Record]) -> None:
    record = said[1]
    assert record.status == "finished"
    assert record.run_id == alone.run_id
    assert record.identity == alone.identity
    assert (record.plan["processes"], record.plan["micro_batch_size"]) == (2, 1)
    # Sums of a few hundred fp32 terms in another order: 1e-7 relative each, losses near 3.
    assert losses(record) == pytest.approx(losses(alone), abs=2e-5)
    assert losses(record, "validation_nll") == pytest.approx(
        losses(alone, "validation_nll"), abs=2e-5
    )
    for together, one in zip(record.test_curve, alone.test_curve, strict=True):
        assert together == pytest.approx(one, abs=2e-5)
    assert distance(alone, record) < 1e-6
    for label, scores in alone.scores.items():
        assert record.scores[label] == pytest.approx(scores, abs=2e-5), label
    theirs, ours = records.items(record), records.items(alone)
    assert [row.get("text") for row in theirs] == [row.get("text") for row in ours]


def test_two_processes_leave_one_record_one_log_and_one_tracked_run(
    said: tuple[str, Record],
) -> None:
    out, record = said
    parent = record.folder.parent
    assert {p.name for p in parent.iterdir()} <= {"run", ".locks"}
    assert record.provenance["processes"] == 2
    for line in (f"run {record.run_id}", "steps = 4", "step    1/4  loss", "test rows  "):
        shown = [text for text in out.splitlines() if text.strip().startswith(line.strip())]
        assert shown, line
        assert len([text for text in shown if text == shown[0]]) == 1 or line == "test rows  "
    [database] = (parent.parent / "outputs" / "trackio").glob("two*.db")
    import sqlite3

    with sqlite3.connect(database) as opened:
        names = opened.execute("select distinct run_name from metrics").fetchall()
    assert len(names) == 1


def half_done(alone: Record, folder: Path) -> Path:
    """Return a copy of a run that stopped after half of its steps."""
    copy = folder / "run"
    shutil.copytree(alone.folder, copy)
    for step in (3, 4):
        shutil.rmtree(copy / "checkpoints" / f"checkpoint-{step}", ignore_errors=True)
    shutil.rmtree(copy / "adapter")
    record = records.read(copy / "run.json")
    record.status = "interrupted"
    records.write(record)
    return copy


def test_two_processes_go_on_from_what_one_has_trained(alone: Record, tmp_path: Path) -> None:
    copy = half_done(alone, tmp_path)
    out = finish(tmp_path, *RUN, f"hydra.run.dir={copy}")
    assert "continuing from checkpoint-2 of 4 steps" in out
    record = records.read(copy / "run.json")
    assert record.test_curve[:2] == alone.test_curve[:2]
    assert losses(record) == pytest.approx(losses(alone), abs=2e-5)
    assert distance(alone, record) < 1e-6


def test_one_process_goes_on_from_what_two_have_trained(
    alone: Record, said: tuple[str, Record], tmp_path: Path
) -> None:
    copy = half_done(said[1], tmp_path)
    record = runs.run_one(load(*RUN), Job(copy, find_siblings=False)).record
    assert record.folder == copy
    assert record.provenance["processes"] == 1
    assert distance(alone, record) < 1e-6


def test_a_sweep_of_two_processes_goes_on_after_a_run_that_fails_in_both(tmp_path: Path) -> None:
    own = [text for text in RUN if not text.startswith("trainer.learning_rate")]
    short = (*own, "eval.base=false", "trainer.max_steps=2")
    process = start(tmp_path, "-m", "hydra.sweep.dir=out", "trainer.learning_rate=1e30,0.5", *short)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    made = {f.parent.name: records.read(f) for f in (tmp_path / "out").glob("*/run.json")}
    assert {name: record.status for name, record in made.items()} == {
        "0": "failed",
        "1": "finished",
    }
    assert "training stopped before this step" in str(made["0"].error)
    assert out.count("step    2/2  loss") == 1
    alone = runs.run_one(load(*RUN, *short[-2:]), Job(tmp_path / "alone")).record
    assert losses(made["1"]) == pytest.approx(losses(alone), abs=2e-5)


BREAKS = """
import os, runpy, sys
if os.environ["RANK"] == "1":
    from experiments.evaluation.metrics import loss

    def broken(*_):
        raise RuntimeError("broken on purpose")

    loss.token_nll = broken
sys.argv[0] = {program!r}
runpy.run_path({program!r}, run_name="__main__")
"""


def test_a_process_that_fails_ends_all_and_the_record_says_why(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(BREAKS.format(program=str(ROOT / "train.py")))
    process = start(
        tmp_path, *RUN, "eval.base=false", f"hydra.run.dir={tmp_path / 'run'}", program=program
    )
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 1
    record = records.read(tmp_path / "run" / "run.json")
    assert record.status == "failed"
    assert record.error is not None
    assert "RuntimeError: broken on purpose" in f"{record.error['type']}: {record.error['message']}"
    assert "error: process 1 of this run failed: RuntimeError: broken on purpose" in out


def test_ctrl_c_ends_all_and_the_record_says_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(
        tmp_path, *RUN, "eval.base=false", "trainer.max_steps=4000", f"hydra.run.dir={folder}"
    )
    for line in process.stdout:
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=100)
    assert process.returncode != 0
    assert records.read(folder / "run.json").status == "interrupted", out
    assert not os.path.exists(folder / "adapter")


def test_a_mistake_is_said_once_in_a_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, *RUN, "trainer.bach_size=4", fresh=True)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert out.count("error: trainer.bach_size: `trainer` has no key 'bach_size'") == 1


def test_help_is_printed_once_and_ends(tmp_path: Path) -> None:
    out = finish(tmp_path, "--help")
    assert out.count("python train.py lora=all_linear data=mixed") == 1


def test_a_budget_ends_all_processes_with_one_checkpoint(tmp_path: Path) -> None:
    line = (*RUN, "hydra.run.dir=out/run", "eval.base=false", "trainer.max_steps=2000")
    program = spent_budget.write(tmp_path, "out/run/checkpoints/checkpoint-2/trainer_state.json")
    process = start(tmp_path, *line, "budget.hours=1", program=program)
    out, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "budget.hours is spent: training stopped with a checkpoint at step" in out
    record = records.read(tmp_path / "out/run/run.json")
    assert record.status == "interrupted"
    step = (record.error or {})["step"]
    assert (tmp_path / f"out/run/checkpoints/checkpoint-{step}/trainer_state.json").is_file()
    again = start(tmp_path, *line)
    read = []
    for text in again.stdout:
        read.append(text)
        if f"continuing from checkpoint-{step} of 2000 steps" in text:
            break
    else:
        pytest.fail("".join(read))
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=100)
