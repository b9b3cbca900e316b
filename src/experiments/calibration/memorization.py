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

MAX_ADDED_SHARE = 0.05
"""Largest share of the bits that twice the length may add for a converged result. If bits grow
with the log of the length, that is 2 % in the last quarter of training."""
MAX_TABLE_SHARE = 0.5
"""Largest share of a table that may be memorised; above it, facts limit the result, not LoRA."""
TRAININGS_FILE = Path("outputs/capacity/trainings.jsonl")
EXTENSIONS = 2
"""Number of times a grid may grow while its best learning rate is at its edge."""


def tuned(rates: Sequence[float], train_at: Callable[[float], Training]) -> dict[float, Training]:
    """Train at each learning rate of a grid that grows while the best one is at its edge.

    Args:
        rates: the initial grid, a factor of 2 apart.
        train_at: trains at a learning rate and returns the result.
    """
    trainings = {rate: train_at(rate) for rate in sorted(rates)}
    for _ in range(EXTENSIONS):
        best_rate = best(trainings)
        if min(trainings) < best_rate < max(trainings):
            break
        edge = best_rate / 2 if best_rate == min(trainings) else best_rate * 2
        trainings[edge] = train_at(edge)
    return trainings


def best(trainings: dict[float, Training]) -> float:
    """Return the learning rate with most memorised bits; diverged training runs count as none."""
    return max(
        trainings, key=lambda rate: -math.inf if math.isnan(b := trainings[rate].bits) else b
    )


def measure(
    setup: MemorizationSettings | None = None, trainings_file: Path | None = TRAININGS_FILE
) -> dict[str, Any]:
    """Return the bits per trained parameter, one number per seed, and the runs behind them.

    Args:
        setup: settings of the experiment.
        trainings_file: file of finished training runs, one per line, from which an interrupted
            process resumes; None = nothing is stored.
    """
    setup = setup or MemorizationSettings()
    progress, rates = _Progress(setup, trainings_file), setup.rates
    grids: dict[int, dict[float, Training]] = {}
    for rank in setup.ranks:
        half = partial(progress.train, rank, setup.seeds[0], setup.passes // 2)
        grids[rank] = tuned(rates, half)
        best_rate = best(grids[rank])
        rates = (best_rate / 2, best_rate, best_rate * 2)
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
    limitations = []
    rank = max(doubled, key=lambda r: doubled[r])
    if not doubled[rank] <= MAX_ADDED_SHARE:
        limitations.append(
            f"bits_per_parameter is a lower bound: training has not converged, as doubling the "
            f"passes added {doubled[rank]:.1%} of the bits at rank {rank}, more than "
            f"{MAX_ADDED_SHARE:.0%}"
        )
    for rank, grid in grids.items():
        if (best_rate := best(grid)) in (min(grid), max(grid)):
            limitation = (
                f"the best learning rate of rank {rank}, {best_rate:g}, is on the edge of its grid"
            )
            limitations.append(limitation)
    if untrained := [run for run in runs if not run.bits > 0]:
        limitations.append(
            f"{len(untrained)} of {len(runs)} training runs learned nothing (first: rank "
            f"{untrained[0].rank}, seed {untrained[0].seed}), so the slope is meaningless"
        )
    if (share := max(run.bits / run.table_bits for run in runs)) > MAX_TABLE_SHARE:
        limitations.append(f"{share:.0%} of a table is memorised, so its size may limit the result")
    return limitations


class _Progress:
    """Trains and prints the progress; results of an earlier process are reused."""

    def __init__(self, setup: MemorizationSettings, trainings_file: Path | None) -> None:
        self.setup, self.trainings_file, self.seconds, self.done = setup, trainings_file, 0.0, 0
        settings_json = json.dumps([asdict(setup), provenance.libraries()]).encode()
        files = (Path(__file__), Path(memorization_training.__file__))
        code = b"".join(file.read_bytes() for file in files)
        self.key = hashlib.sha256(code + settings_json).hexdigest()[:16]
        self.finished = _read_finished(trainings_file, self.key) if trainings_file else {}
        # The size of a table, and therefore the time of a pass, grows with the rank.
        tuning, full = 3 * (setup.passes // 2), len(setup.seeds) * setup.passes
        self.remaining = sum(setup.ranks) * (tuning + full)

    def train(self, rank: int, seed: int, passes: int, learning_rate: float) -> Training:
        training = self.finished.get((rank, seed, passes, learning_rate))
        if training is None:
            training = train(self.setup, rank, learning_rate, seed, passes)
            self._store(training)
        self.seconds, self.done = self.seconds + training.seconds, self.done + rank * passes
        self.remaining = max(0, self.remaining - rank * passes)
        print(
            f"rank {rank}, LR {learning_rate:g}, seed {seed}, {passes} passes: "
            f"{training.bits:.0f} bits, {training.bits / training.parameters:.3f} per parameter, "
            f"{training.seconds} s; "
            f"about {self.remaining * self.seconds / self.done / 60:.0f} minutes left",
            flush=True,
        )
        return training

    def _store(self, training: Training) -> None:
        if self.trainings_file:
            self.trainings_file.parent.mkdir(parents=True, exist_ok=True)
            with self.trainings_file.open("a", encoding="utf-8") as file:
                # The newline comes first, because the previous line may be truncated.
                file.write("\n" + json.dumps({"key": self.key} | asdict(training)))


def _read_finished(file: Path, key: str) -> dict[tuple[int, int, int, float], Training]:
    """Return the complete lines of a file that have the same settings, code and libraries."""
    trainings = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            tree = json.loads(line)
        except ValueError:  # an empty line, or truncated when the process ended
            continue
        if tree.pop("key") == key:
            tree["curve"] = {int(passes): bits for passes, bits in tree["curve"].items()}
            training = Training(**tree)
            trainings[training.rank, training.seed, training.passes, training.rate] = training
    return trainings
