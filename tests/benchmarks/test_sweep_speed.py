"""What a sweep in one process costs against its runs one by one: `make bench`."""

import os
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT, SMOKE, environment
from experiments import records

RUNS = int(os.environ.get("BENCH_RUNS", "16"))
# About three seconds of training a run on a core without neighbours.
LINE = (*SMOKE, "model=tiny", "eval.base=false", "trainer.max_steps=25", "trainer.save_steps=25")


def seconds(folder: Path, *arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments, *LINE],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return time.perf_counter() - began


def training(folder: Path) -> float:
    found = [r.timing["train_seconds"] for r in records.read_all(folder)]
    return sum(found) / len(found)


def test_print_a_grid_in_one_process_against_separate_commands(tmp_path: Path) -> None:
    seeds = ",".join(map(str, range(RUNS)))
    grid = seconds(tmp_path, "-m", f"seed={seeds}", "hydra.sweep.dir=grid")
    alone = sum(seconds(tmp_path, f"seed={n}", f"hydra.run.dir=alone/{n}") for n in range(RUNS))
    print(
        f"\n{RUNS} runs in one process / {RUNS} times python train.py = {grid / alone:.2f} "
        f"({grid:.0f} s / {alone:.0f} s; training {training(tmp_path / 'grid'):.1f} s a run in the "
        f"grid, {training(tmp_path / 'alone'):.1f} s alone, first imports included)"
    )
