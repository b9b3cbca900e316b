"""`sweeps=search` (ASHA) against a full grid over its space: `make bench`. Nothing is asserted.

Printed for each repeat (another seed of everything): the share of the grid's optimiser steps that
the search took, and how far the arm it found is from the grid's best, in standard deviations of
five seeds of that best cell. `SEARCH_REPEATS` sets the number of repeats. The sweep file is used
as it stands; the runs are shorter than the default run, for the grid and the search alike, and the
first rung is at the same share of a run as in the file (25 of 338 steps).
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, environment
from experiments import records
from experiments.records import Record

REPEATS = int(os.environ.get("SEARCH_REPEATS", "5"))
# All layers and ranks of sweeps/search.yaml, and four rates over its range: 36 cells.
GRID = (
    "lora=all_linear,attention,mlp",
    "lora.r=1,4,16",
    "trainer.learning_rate=1e-3,3e-3,1e-2,3e-2",
)
# 40 steps of 4 rows: long enough that the arms part, short enough that a repeat takes minutes.
RUN = (
    *("trainer.max_steps=40", "trainer.eval_steps=3", "trainer.save_steps=40"),
    *("trainer.batch_size=4", "data.train_rows=162", "data.validation_rows=27"),
    *("data.test_rows=9", "eval.base=false"),
    *("data.unseen_values_rows=0", "data.unseen_tools_rows=0", "eval.splits=[test]"),
    *("eval.max_new_tokens=4", "tracker=none", "trainer.keep=none"),
)


def sweep(folder: Path, *overrides: str) -> list[Record]:
    line = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra.sweep.dir={folder}"]
    done = subprocess.run(
        [*line, *RUN, *overrides], cwd=folder.parent, env=environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return records.read_all(folder)


def steps(runs: list[Record]) -> int:
    return sum(int(run.plan.get("stopped_at_step", run.plan["steps"])) for run in runs)


def best(runs: list[Record]) -> Record:
    done = [run for run in runs if run.status == "finished"]
    return min(done, key=lambda run: float(run.objective["value"]))


def arm(run: Record) -> list[str]:
    names = ("lora=", "lora.r=", "lora.lora_alpha=", "trainer.learning_rate=")
    return [text for text in run.overrides if text.startswith(names)]


def test_print_asha_against_the_full_grid(tmp_path: Path) -> None:
    for repeat in range(REPEATS):
        seed = f"seed={repeat}"
        grid = sweep(tmp_path / f"grid{repeat}", *GRID, seed)
        found = sweep(tmp_path / f"search{repeat}", "sweeps=search", seed)
        top, mine = best(grid), best(found)
        again = sweep(tmp_path / f"seeds{repeat}", *arm(top), "seed=100,101,102,103,104")
        deviation = statistics.stdev(float(run.objective["value"]) for run in again)
        gap = float(mine.objective["value"]) - float(top.objective["value"])
        pruned = sum(run.status == "pruned" for run in found)
        print(
            f"\nrepeat {repeat}: {len(grid)} cells, best {' '.join(arm(top))} "
            f"{top.objective['value']:.4f}; ASHA ({pruned} pruned) found {' '.join(arm(mine))} "
            f"{mine.objective['value']:.4f}, {gap / deviation:.2f} standard deviations away, for "
            f"{steps(found) / steps(grid):.0%} of the grid's steps"
        )
