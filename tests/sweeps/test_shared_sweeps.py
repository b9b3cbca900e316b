"""A sweep whose workers are killed, or that has two of them, ends as one that was left alone."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import FEW_ROWS, ROOT, environment, load
from experiments import records, runs
from experiments.records import Record
from experiments.runs import Job
from support import commands
from support.long_runs import KILLS

STEPS = max(12, 2 * KILLS)  # of each of the four runs that are killed at random


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "train.py"), "-m", *FEW_ROWS, "hydra.sweep.dir=sweep"]
    return commands.Popen(
        [*command, *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    return out


def read(sweep: Path, runs_wanted: int) -> dict[int, Record]:
    """Return the records by job, having seen that nothing else lies in the sweep's folder."""
    assert {p.name for p in sweep.glob("[!.]*/")} == {str(n) for n in range(runs_wanted)}
    assert not list(sweep.glob("**/*.partial"))
    found = records.read_all(sweep)
    assert [r.status for r in found] == ["finished"] * runs_wanted
    assert len({r.run_id for r in found}) == runs_wanted
    return {int(r.folder.name): r for r in found}


def numbers(record: Record) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "scores": record.scores,
        "counts": record.counts,
        "objective": record.objective,
        "losses": [(p["step"], p.get("loss"), p.get("validation_nll")) for p in record.curve],
        "items": records.items(record),
    }


def trained(out: str) -> list[str]:
    """Return the run_ids that were trained to their last step, in order, with repetitions."""
    found, run_id = [], ""
    for line in out.splitlines():
        if begun := re.match(r"run ([0-9a-f]{12}):", line):
            run_id = begun[1]
        elif (step := re.match(r"step +(\d+)/(\d+)  loss", line)) and step[1] == step[2]:
            found.append(run_id)
    return found


@pytest.mark.slow
def test_two_workers_on_one_line_share_it_and_do_each_run_once(tmp_path: Path) -> None:
    line = ("seed=0,1,2,3",)
    workers = [start(tmp_path, *line) for _ in range(2)]
    outs = [ended(worker) for worker in workers]
    found = read(tmp_path / "sweep", 4)
    shares = [trained(out) for out in outs]
    assert all(shares), "one of the workers did nothing"
    assert sorted(shares[0] + shares[1]) == sorted(r.run_id for r in found.values())
    for out in outs:
        assert "4 finished" in out


@pytest.mark.slow
def test_the_run_of_a_killed_worker_is_finished_by_the_other(tmp_path: Path) -> None:
    line = ("seed=0,1,2,3", "trainer.max_steps=10", "trainer.save_steps=2",
            "trainer.eval_steps=10")  # fmt: skip
    doomed, other = start(tmp_path, *line), start(tmp_path, *line)
    assert doomed.stdout is not None
    lost = ""
    for text in doomed.stdout:
        if begun := re.match(r"run ([0-9a-f]{12}):", text):
            lost = begun[1]
        if re.match(r"step +[4-7]/10", text):
            doomed.kill()
            break
    rest, _ = doomed.communicate()
    out = ended(other)
    found = read(tmp_path / "sweep", 4)
    assert lost in {r.run_id for r in found.values()}
    assert lost not in trained(rest)
    assert trained(out).count(lost) == 1
    assert "continuing from checkpoint-" in out
    [taken] = [record for record in found.values() if record.run_id == lost]
    ended(start(tmp_path, *line, f"seed={taken.config['seed']}", "hydra.sweep.dir=calm"))
    assert numbers(taken) == numbers(read(tmp_path / "calm", 1)[0])


@pytest.mark.slow
def test_a_worker_whose_clock_is_ahead_leaves_a_run_that_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = load(*FEW_ROWS)
    first = runs.run_one(run, Job(tmp_path / "sweep" / "0", number=0)).record
    tree = json.loads(first.path.read_text())
    tree |= {"status": "running", "started_at": "2199-01-01T00:00:00+00:00", "finished_at": None}
    first.path.write_text(json.dumps(tree))
    again = runs.run_one(run, Job(tmp_path / "sweep" / "0", number=0)).record
    assert again.folder == first.folder
    assert again.scores == first.scores
    assert {p.name for p in (tmp_path / "sweep").glob("[!.]*/")} == {"0"}


@pytest.mark.slow
@pytest.mark.random_kills
def test_a_sweep_killed_at_random_moments_ends_as_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    line = ("seed=0,1,2,3", f"trainer.max_steps={STEPS}",
            "trainer.save_steps=3", "lora.lora_dropout=0.1")  # fmt: skip
    ended(start(tmp_path, *line, "hydra.sweep.dir=calm"))
    chance = random.Random(20)
    while_alive = 0
    for _ in range(KILLS):
        done_before = {r.run_id for r in records.read_all(tmp_path / "sweep")
                       if r.status == "finished"}  # fmt: skip
        process = start(tmp_path, *line)
        out = _kill_at_random(process, chance)
        while_alive += process.returncode == -9
        assert not done_before & set(trained(out)), "a finished run was trained again"
    last = ended(start(tmp_path, *line))
    assert "4 finished" in last
    found, calm = read(tmp_path / "sweep", 4), read(tmp_path / "calm", 4)
    assert {n: numbers(r) for n, r in found.items()} == {n: numbers(r) for n, r in calm.items()}
    assert while_alive >= KILLS * 3 // 4, "the sweep was over before most of the kills"


def _kill_at_random(process: "subprocess.Popen[str]", chance: random.Random) -> str:
    """Kill during the start, or some steps and a moment after the first; return what was said."""
    assert process.stdout is not None
    steps = chance.randrange(0, 4 * STEPS // KILLS)  # so that the kills fall into all runs
    seen = []
    if steps == 0:
        time.sleep(chance.uniform(0.2, 6.0))
    else:
        for text in process.stdout:
            seen.append(text)
            steps -= text.startswith("step")
            if steps == 0:
                break
        time.sleep(chance.uniform(0.0, 0.5))
    process.kill()
    rest, _ = process.communicate()
    return "".join(seen) + rest
