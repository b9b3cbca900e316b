"""Measure how many bits LoRA memorises per trained parameter, from a table of random facts.

A fact is a key of random tokens and a value of random tokens, each value token drawn uniformly
from V tokens. A table of N facts with m value tokens therefore has exactly N m log2(V) bits. The
memorised bits are the sum over value tokens of log2(V) minus the cross-entropy in bits
(J. X. Morris et al., arXiv 2505.24832; Z. Allen-Zhu and Y. Li, arXiv 2404.05405). Every table has
several times the claimed capacity. Bits per parameter is the slope of memorised bits over trained
parameters, which excludes the constant cost of the base and the table format at every rank.

Training uses PEFT's LoRA on all linear layers except the head, B = 0, alpha 32, fp32, Adam, and a
learning rate that decays linearly to 0: at the same length this memorised more than a constant
learning rate. The learning rate is tuned for each rank at half the length on one seed. The same
training runs show whether the result has converged: if twice the length memorises clearly more, the
result is a lower bound, and `reasons` states that.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.calibration import memorization_training
from experiments.calibration.memorization_training import (
    ALPHA,
    MemorizationSettings,
    Training,
    train,
)
from experiments.records import provenance

AT_REST = 0.05
"""Largest share of the bits that twice the length may add for a converged result. If bits grow
with the log of the length, that is 2 % in the last quarter of training."""
FULL = 0.5
"""Largest share of a table that may be memorised; above it, facts limit the result, not LoRA."""
KEPT = Path("outputs/capacity/trainings.jsonl")
EXTENSIONS = 2
"""Number of times a grid may grow while its best learning rate is at its edge."""


def tuned(rates: Sequence[float], train_at: Callable[[float], Training]) -> dict[float, Training]:
    """Train at each learning rate of a grid that grows while the best one is at its edge.

    Args:
        rates: the initial grid, a factor of 2 apart.
        train_at: trains at a learning rate and returns the result.
    """
    found = {rate: train_at(rate) for rate in sorted(rates)}
    for _ in range(EXTENSIONS):
        at = best(found)
        if min(found) < at < max(found):
            break
        edge = at / 2 if at == min(found) else at * 2
        found[edge] = train_at(edge)
    return found


def best(found: dict[float, Training]) -> float:
    """Return the learning rate with most memorised bits; diverged training runs count as none."""
    return max(found, key=lambda rate: -math.inf if math.isnan(b := found[rate].bits) else b)


def measure(setup: MemorizationSettings | None = None, kept: Path | None = KEPT) -> dict[str, Any]:
    """Return the bits per trained parameter, one number per seed, and the runs behind them.

    Args:
        setup: settings of the experiment.
        kept: file of finished training runs, one per line, from which an interrupted process
            resumes; None = nothing is stored.
    """
    setup = setup or MemorizationSettings()
    progress, rates = _Progress(setup, kept), setup.rates
    grids: dict[int, dict[float, Training]] = {}
    for rank in setup.ranks:
        half = partial(progress.train, rank, setup.seeds[0], setup.passes // 2)
        grids[rank] = tuned(rates, half)
        middle = best(grids[rank])
        rates = (middle / 2, middle, middle * 2)
    runs = [
        progress.train(rank, seed, setup.passes, best(grids[rank]))
        for seed in setup.seeds
        for rank in setup.ranks
    ]
    doubled = {r.rank: 1 - grids[r.rank][r.rate].bits / r.bits for r in runs[: len(setup.ranks)]}
    return {
        "values": {
            "bits_per_parameter": [slope([r for r in runs if r.seed == s]) for s in setup.seeds],
            "added_by_twice_the_passes": list(doubled.values()),
            "added_by_the_last_quarter": [run.last_quarter for run in runs],
        },
        "reasons": reasons(doubled, grids, runs),
        "scope": f"mechanism (tiny model), {setup.base}, ranks "
        f"{', '.join(map(str, setup.ranks))}, random facts seen {setup.passes} times, fp32 on cpu",
        "setting": asdict(setup) | {"alpha": ALPHA, "rate": "falls linearly to 0"},
        "tuning": [asdict(run) for grid in grids.values() for run in grid.values()],
        "trainings": [asdict(run) for run in runs],
    }


def slope(runs: Sequence[Training]) -> float:
    """Return bits per trained parameter: the least-squares slope over ranks."""
    return float(np.polyfit([r.parameters for r in runs], [r.bits for r in runs], 1)[0])


def reasons(
    doubled: dict[int, float], grids: dict[int, dict[float, Training]], runs: Sequence[Training]
) -> list[str]:
    """Return why the result is not a capacity; empty if it is one.

    Args:
        doubled: share of the bits that the second half of twice the passes added, by rank.
        grids: training runs by rank and learning rate.
        runs: the training runs that the result is computed from.
    """
    found = []
    rank = max(doubled, key=lambda r: doubled[r])
    if not doubled[rank] <= AT_REST:
        found.append(
            f"bits_per_parameter is a lower bound: training has not converged, as doubling the "
            f"passes added {doubled[rank]:.1%} of the bits at rank {rank}, more than {AT_REST:.0%}"
        )
    for rank, grid in grids.items():
        if (at := best(grid)) in (min(grid), max(grid)):
            text = f"the best learning rate of rank {rank}, {at:g}, is on the edge of its grid"
            found.append(text)
    if stuck := [run for run in runs if not run.bits > 0]:
        found.append(
            f"{len(stuck)} of {len(runs)} training runs learned nothing (first: rank "
            f"{stuck[0].rank}, seed {stuck[0].seed}), so the slope is meaningless"
        )
    if (share := max(run.bits / run.table_bits for run in runs)) > FULL:
        found.append(f"{share:.0%} of a table is memorised, so its size may limit the result")
    return found


class _Progress:
    """Trains and prints the progress; results of an earlier process are reused."""

    def __init__(self, setup: MemorizationSettings, kept: Path | None) -> None:
        self.setup, self.kept, self.spent, self.done = setup, kept, 0.0, 0
        made_by = json.dumps([asdict(setup), provenance.libraries()]).encode()
        files = (Path(__file__), Path(memorization_training.__file__))
        code = b"".join(file.read_bytes() for file in files)
        self.key = hashlib.sha256(code + made_by).hexdigest()[:16]
        self.finished = _finished(kept, self.key) if kept else {}
        # The size of a table, and therefore the time of a pass, grows with the rank.
        tuning, full = 3 * (setup.passes // 2), len(setup.seeds) * setup.passes
        self.left = sum(setup.ranks) * (tuning + full)

    def train(self, rank: int, seed: int, passes: int, rate: float) -> Training:
        made = self.finished.get((rank, seed, passes, rate))
        if made is None:
            made = train(self.setup, rank, rate, seed, passes)
            self._keep(made)
        self.spent, self.done = self.spent + made.seconds, self.done + rank * passes
        self.left = max(0, self.left - rank * passes)
        print(
            f"rank {rank}, LR {rate:g}, seed {seed}, {passes} passes: {made.bits:.0f} bits, "
            f"{made.bits / made.parameters:.3f} per parameter, {made.seconds} s; "
            f"about {self.left * self.spent / self.done / 60:.0f} minutes left",
            flush=True,
        )
        return made

    def _keep(self, made: Training) -> None:
        if self.kept:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            with self.kept.open("a", encoding="utf-8") as file:
                # The newline comes first, because the previous line may be truncated.
                file.write("\n" + json.dumps({"key": self.key} | asdict(made)))


def _finished(kept: Path, key: str) -> dict[tuple[int, int, int, float], Training]:
    """Return the complete lines of a file that have the same settings, code and libraries."""
    found = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else ():
        try:
            tree = json.loads(line)
        except ValueError:  # an empty line, or truncated when the process ended
            continue
        if tree.pop("key") == key:
            tree["curve"] = {int(at): bits for at, bits in tree["curve"].items()}
            made = Training(**tree)
            found[made.rank, made.seed, made.passes, made.rate] = made
    return found
