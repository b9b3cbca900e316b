"""Recognise the records of a tuned sweep and return its arms at their best learning rates.

A tuned sweep is recognised by its records, so that a committed report can be regenerated from
itself: all learning rates are on the grid of `arms.rate_design`, and an arm tried several
consecutive grid steps.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.analysis import arms
from experiments.analysis.arms import Arm, Contrast, Tuned, rate_design, table
from experiments.records import Record
from experiments.reports.comparison_rule import ComparisonRule

_ENOUGH = 4
"""Consecutive grid steps that prove a search; a grid of half decades uses every second step."""


@dataclass(frozen=True)
class Reference:
    """The first arm of a group, with which the others of the group are compared."""

    arm: Tuned
    margin: float | None
    """The largest negligible difference, in the unit of the score; None = none was given."""


@dataclass(frozen=True)
class TunedSweep:
    """The arms of a tuned sweep, and how they compare."""

    arms: Sequence[Tuned]
    score: str
    """The test score by which the arms are compared."""
    references: Sequence[Reference]
    """One reference for each group of arms that are compared with each other."""
    contrasts: Mapping[str, Contrast]
    """Contrasts to the reference of the group, by arm key; references have none."""
    notes: Sequence[str]
    """The sentences below the table."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels by arm key."""
        return {one.arm.key: one.arm.label for one in self.arms}

    def diverged(self) -> dict[str, list[float]]:
        """Return the learning rates at which at least one run diverged, by arm label."""
        found = {
            one.arm.label: [p.rate for p in one.curve if not math.isfinite(p.mean)]
            for one in self.arms
        }
        return {label: rates for label, rates in found.items() if rates}


def read(found: Iterable[Record], comparison: ComparisonRule) -> TunedSweep | None:
    """Return the results of a tuned sweep, or None if the records are not from one."""
    kept = list(found)
    tried = arms.read(kept)
    if not tried or not any(map(_searched, tried)) or not all(map(_on_grid, tried)):
        return None
    return of(kept, tried, comparison)


def of(found: Sequence[Record], tried: Sequence[Arm], comparison: ComparisonRule) -> TunedSweep:
    """Return the arms of some records at their best learning rates, compared within groups."""
    score = comparison.score
    floor = arms.repeats(found, score)
    tuned = [arms.tune(arm) for arm in tried]
    contrasts: dict[str, Contrast] = {}
    notes: dict[str, None] = {}
    references = []
    for group in _groups(tuned):
        reference, *others = group
        compared = [
            arms.contrast(
                reference,
                one,
                comparison.margin,
                score,
                arms.intended_differences(reference, one),
                floor,
            )
            for one in others
        ]
        contrasts |= {one.arm.arm.key: one for one in compared}
        margin = compared[0].margin if compared else comparison.margin
        notes |= dict.fromkeys(table.lines(group, score, comparison.margin, floor)[2])
        references.append(Reference(reference, margin))
    return TunedSweep(tuned, score, references, contrasts, list(notes))


def _groups(tuned: Sequence[Tuned]) -> list[list[Tuned]]:
    """Return the groups of arms that are compared with each other, in order.

    Arms of a group differ only in their adapter, so that full fine-tuning on few rows is no
    reference for LoRA on many. If no two arms differ only in their adapter, arms with the same
    model and data form a group.
    """
    ways = (lambda config: {k: v for k, v in config.items() if k != "lora"},
            lambda config: [config.get(key) for key in ("model", "data", "eval")])  # fmt: skip
    groups: dict[str, list[Tuned]] = {}
    for way in ways:
        groups = {}
        for one in tuned:
            key = json.dumps(way(one.arm.config), sort_keys=True, default=str)
            groups.setdefault(key, []).append(one)
        if any(len(group) > 1 for group in groups.values()):
            break
    return list(groups.values())


def _on_grid(arm: Arm) -> bool:
    return all(math.isclose(r, rate_design.grid_rate(rate_design.grid_step(r))) for r in arm.rates)


def _searched(arm: Arm) -> bool:
    """Return whether an arm tried several consecutive grid steps."""
    steps = [rate_design.grid_step(rate) for rate in arm.rates if rate > 0]
    return any({*range(at, at + _ENOUGH)} <= set(steps) for at in steps)
