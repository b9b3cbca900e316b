"""Records of a tuned sweep in, its arms at their own best learning rates out, for the tables.

That a sweep was tuned is seen in its records, so that a committed report comes out of itself: all
rates lie on the grid of `arms.planning`, and an arm tried several that follow each other there.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments import arms
from experiments.arms import Arm, Contrast, Tuned, planning, table
from experiments.arms.contrasts import TESTED_ON
from experiments.records import Record

_ENOUGH = 4
"""Neighbouring rates that no grid has by chance: those of half decades leave every second out."""


@dataclass(frozen=True)
class Tuning:
    """The arms of a tuned sweep, and how they compare; the first one is the reference."""

    arms: Sequence[Tuned]
    score: str
    """Of the test split: what the arms are compared by."""
    margin: float | None
    """The largest difference that does not matter, in the score's unit."""
    contrasts: Mapping[str, Contrast]
    """Arm's key -> its contrast to the first arm."""
    notes: Sequence[str]
    """The sentences below the table."""

    @property
    def labels(self) -> dict[str, str]:
        """Arm's key -> label."""
        return {one.arm.key: one.arm.label for one in self.arms}

    def diverged(self) -> dict[str, list[float]]:
        """Return arm's label -> the rates at which at least one run diverged, if there are any."""
        found = {
            one.arm.label: [p.rate for p in one.curve if not math.isfinite(p.mean)]
            for one in self.arms
        }
        return {label: rates for label, rates in found.items() if rates}


def read(found: Iterable[Record]) -> Tuning | None:
    """Return what a tuned sweep says; None where the records are not those of one."""
    kept = list(found)
    tried = arms.read(kept)
    if not tried or not any(map(_searched, tried)) or not all(map(_on_grid, tried)):
        return None
    return of(kept, tried)


def of(found: Sequence[Record], tried: Sequence[Arm], score: str = TESTED_ON) -> Tuning:
    """Return the arms of some records at their best rates, compared with the first one."""
    tuned = [arms.tune(arm) for arm in tried]
    reference, *others = tuned
    margin = arms.gain_margin(reference, score)
    floor = arms.repeats(found, score)
    compared = [arms.contrast(reference, one, margin, score, floor=floor) for one in others]
    contrasts = {one.arm.arm.key: one for one in arms.family(compared)}
    _, _, notes = table.lines(tuned, score, None, floor)
    return Tuning(tuned, score, margin, contrasts, notes)


def _on_grid(arm: Arm) -> bool:
    return all(math.isclose(r, planning.grid_rate(planning.grid_step(r))) for r in arm.rates)


def _searched(arm: Arm) -> bool:
    """Whether an arm tried several rates that follow each other on the grid."""
    steps = [planning.grid_step(rate) for rate in arm.rates if rate > 0]
    return any({*range(at, at + _ENOUGH)} <= set(steps) for at in steps)
