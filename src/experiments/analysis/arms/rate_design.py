"""Plan which runs an arm needs next to tune its learning rate.

Learning rates are on one log grid with four steps per decade, the same for all arms. With the
first seed every second step is tried until the best learning rate has a tried one on either side,
then the five within a decade around it. Two seeds at these five say which of them are clearly
worse than the best. All seeds are run at the best, at its two neighbours, and at each of the outer
two that is not clearly worse. If the mean loss is lowest elsewhere, the five follow. Every arm thus
ends with five learning rates within a decade around its best, the central three with all seeds and
the outer two with at least two, wherever its search began.

The numbers of runs, and how often the right learning rate is found, are simulated by
`experiments.calibration.tuning_simulation`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.analysis.arms.grouping import Arm
from experiments.analysis.arms.rate_optimum import OUTER_SEEDS

PER_DECADE = 4
"""Grid steps per decade: neighbours differ by a factor of 10^(1/4) = 1.78."""
REACH = 2
"""Learning rates that every arm must have tried on either side of its optimum: half a decade."""
COARSE = 2
"""Grid steps between the learning rates of the coarse search: half a decade."""
SEEDS = (0, 43, 100, 977, 31415)
"""Deliberately scattered: consecutive seeds were seen to spread less. In `lora-without-regret`,
olokevin reports 0.09 points over seeds 42 to 44 and 0.81 over 0, 43 and 100."""

Phase = Literal["coarse", "around the best", "two seeds", "all seeds", "done", "edge", "most runs"]
ENDED = ("done", "edge", "most runs")
"""Phases in which an arm needs no further runs."""
StepLosses = Mapping[int, Mapping[int, float]]
"""Validation loss by grid step, then by seed; infinite if the run diverged."""


@dataclass(frozen=True)
class Cell:
    """A run that is needed."""

    rate: float
    seed: int


@dataclass(frozen=True)
class Design:
    """How an arm is tuned: the first grid, the seeds, and how far the grid may grow."""

    low: int
    """Lowest grid step of the first grid; `grid_rate(step)` is the learning rate of a step."""
    high: int
    seeds: tuple[int, ...] = SEEDS
    """The first seed is used for the search, all seeds for the decision."""
    furthest: int = 12
    """Number of steps the grid may be extended by at either end."""

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest grid step that may be tried."""
        return self.low - self.furthest, self.high + self.furthest

    @property
    def coarse(self) -> list[int]:
        """Grid steps of the first grid: every second one, and its highest."""
        return sorted({*range(self.low, self.high, COARSE), self.high})


@dataclass(frozen=True)
class RunCount:
    """How many runs it takes to tune one arm."""

    expected: int
    """If the first grid is around the optimum and the best learning rate stays the best."""
    most: int
    """No arm has more, without those at the learning rates of rules."""


@dataclass(frozen=True)
class Next:
    """The next runs an arm needs, and the phase of its tuning."""

    cells: tuple[Cell, ...]
    phase: Phase
    """`edge`: the optimum would be further out than the grid may be extended; `most runs`: the best
    learning rate has not all of its five, but the arm may have no further runs."""
    extended: tuple[float, ...]
    """Learning rates outside the first grid that were tried or are needed."""


def grid_rate(step: int) -> float:
    """Return the learning rate of a grid step, rounded to three significant digits.

    >>> [grid_rate(step) for step in (-12, -11, -10, -9, -8)]
    [0.001, 0.00178, 0.00316, 0.00562, 0.01]
    """
    return float(f"{10 ** (step / PER_DECADE):.3g}")


def grid_step(rate: float) -> int:
    """Return the grid step nearest to a learning rate."""
    return round(math.log10(rate) * PER_DECADE)


def run_count(design: Design, repeats: int = 0) -> RunCount:
    """Return how many runs it takes to tune one arm.

    Args:
        design: how the arm is tuned.
        repeats: number of repeats of the best run, for the noise floor.

    >>> run_count(Design(*first_grid(5e-3)))
    RunCount(expected=19, most=38)
    """
    seeds = len(design.seeds)
    central, outer = 3 * seeds, 2 * min(OUTER_SEEDS, seeds)
    needed = central + outer + max(0, len(design.coarse) - 3)
    far = needed + math.ceil(design.furthest / COARSE) + 2  # for an optimum at a limit
    return RunCount(needed + repeats, max(2 * needed, far) + repeats)


def rule_cells(arm: Arm | None, design: Design, rate: float) -> tuple[Cell, ...]:
    """Return the runs still needed to compute the cost of a rule's learning rate, for all seeds.

    They are at the two grid points around it, between which the loss is interpolated.
    """
    position = math.log10(rate) * PER_DECADE
    losses = _on_grid(arm, design)
    steps = sorted({math.floor(position + 1e-3), math.ceil(position - 1e-3)})
    return tuple(
        Cell(grid_rate(s), seed) for s in steps for seed in _missing_seeds(losses, s, design)
    )


def first_grid(centre: float) -> tuple[int, int]:
    """Return the ends of a first grid, half a decade on either side of a plausible rate.

    >>> first_grid(5e-3)
    (-11, -7)
    """
    return grid_step(centre) - REACH, grid_step(centre) + REACH


def next_cells(arm: Arm | None, design: Design) -> Next:
    """Return the runs that an arm needs next, or none if it is done.

    Args:
        arm: the runs so far, or None if there are none. Runs off the grid are ignored.
        design: how the arm is tuned.
    """
    return next_at(_on_grid(arm, design), design)


def next_at(losses: StepLosses, design: Design) -> Next:
    """Return the runs that an arm with these losses needs next, as `next_cells`."""
    first = design.seeds[:1]
    if missing := _missing(losses, dict.fromkeys(design.coarse, first)):
        return _next(design, losses, "coarse", missing)
    best = _best(losses, first)
    if beyond := _beyond(best, losses, design):
        return _next(design, losses, "coarse", dict.fromkeys(beyond, first))
    stages: tuple[tuple[Phase, tuple[int, ...]], ...] = (
        ("around the best", first),
        ("two seeds", design.seeds[:OUTER_SEEDS]),
        ("all seeds", design.seeds),
    )
    left = run_count(design).most - sum(map(len, losses.values()))
    for phase, seeds in stages:
        while True:
            needed = _needed(best, losses, seeds, design, left)
            if best in design.limits and (seeds != first or not needed):
                return _next(design, losses, "edge", {})
            if _count(needed) > left:
                return _next(design, losses, "most runs", {})
            if needed:
                return _next(design, losses, phase, needed)
            if (lowest := _best(losses, seeds)) == best:
                break
            best = lowest
    return _next(design, losses, "done", {})


def _beyond(best: int, losses: StepLosses, design: Design) -> list[int]:
    """Return the next coarse steps on the sides of the best on which no step was tried."""
    low, high = design.limits
    tried = [step for step, by_seed in losses.items() if design.seeds[0] in by_seed]
    below = [max(low, best - COARSE)] if best == min(tried) else []
    above = [min(high, best + COARSE)] if best == max(tried) else []
    return [step for step in (*below, *above) if step != best]


def _needed(
    best: int, losses: StepLosses, seeds: tuple[int, ...], design: Design, left: int
) -> dict[int, list[int]]:
    """Return the missing seeds around the best, by step.

    Those are the seeds of the best and its neighbours, the first two of the outer ones, and all
    seeds of the outer ones that are not pruned, unless the runs would then not suffice to follow
    the best by two steps.
    """
    around, two = _around(best, REACH, design.limits), seeds[:OUTER_SEEDS]
    plan = dict.fromkeys(around, two) | dict.fromkeys(_around(best, 1, design.limits), seeds)
    needed = _missing(losses, plan)
    if len(seeds) <= OUTER_SEEDS or _missing(losses, dict.fromkeys(around, two)):
        return needed
    pruned = clearly_worse(best, around, losses, two)
    wanted = _missing(losses, dict.fromkeys((s for s in around if s not in pruned), seeds))
    for_two_moves = 2 * len(seeds)  # what it costs if the best moves by two steps
    return wanted if _count(wanted) + for_two_moves <= left else needed


def clearly_worse(
    best: int, steps: Sequence[int], losses: StepLosses, seeds: Sequence[int]
) -> set[int]:
    """Return the steps that are pruned: clearly worse than the best, and no neighbours of it.

    A step is clearly worse if the mean of its differences to the best, paired by seed, is above
    the 97.5 % quantile of Student's t times its standard error. The noise is that of all the steps:
    what is left of their losses without the means of steps and seeds.

    Args:
        best: the step with the lowest mean loss.
        steps: the steps that are compared, all with all of the seeds.
        losses: the losses.
        seeds: at least two.
    """
    import numpy as np
    from scipy.special import stdtrit

    outer = {step for step in steps if abs(step - best) > 1}
    finite = [s for s in steps if all(math.isfinite(losses[s][seed]) for seed in seeds)]
    if best not in finite or len(finite) < 2:
        return outer
    table = np.asarray([[losses[step][seed] for seed in seeds] for step in finite])
    means = table.mean(axis=1)
    residuals = table - means[:, None] - table.mean(axis=0) + table.mean()
    freedom = (len(finite) - 1) * (len(seeds) - 1)
    error = math.sqrt((residuals**2).sum() / freedom * 2 / len(seeds))
    limit = means[finite.index(best)] + float(stdtrit(freedom, 0.975)) * error
    kept = {step for step, mean in zip(finite, means, strict=True) if mean <= limit}
    return outer - kept


def _on_grid(arm: Arm | None, design: Design) -> dict[int, dict[int, float]]:
    """Return the losses on the grid by step, then by seed."""
    by_step: dict[int, dict[int, float]] = {}
    for rate in arm.rates if arm is not None else ():
        step = grid_step(rate)
        if math.isclose(grid_rate(step), rate, rel_tol=1e-6):
            by_seed = arm.losses(rate) if arm is not None else {}
            by_step[step] = {seed: by_seed[seed] for seed in by_seed if seed in design.seeds}
    return by_step


def _next(
    design: Design,
    losses: Mapping[int, object],
    phase: Phase,
    needed: Mapping[int, Iterable[int]],
) -> Next:
    cells = tuple(Cell(grid_rate(step), seed) for step in sorted(needed) for seed in needed[step])
    outside = {s for s in (*losses, *needed) if not design.low <= s <= design.high}
    return Next(cells, phase, tuple(grid_rate(step) for step in sorted(outside)))


def _around(step: int, reach: int, limits: tuple[int, int]) -> list[int]:
    low, high = limits
    return [s for s in range(step - reach, step + reach + 1) if low <= s <= high]


def _missing_seeds(losses: StepLosses, step: int, design: Design) -> list[int]:
    return [seed for seed in design.seeds if seed not in losses.get(step, {})]


def _missing(losses: StepLosses, plan: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Return the seeds of a plan, by step, that have no loss; steps without any are left out."""
    missing = {
        step: [seed for seed in seeds if seed not in losses.get(step, {})]
        for step, seeds in plan.items()
    }
    return {step: seeds for step, seeds in missing.items() if seeds}


def _count(needed: Mapping[int, Sequence[int]]) -> int:
    return sum(map(len, needed.values()))


def _best(losses: StepLosses, seeds: Sequence[int]) -> int:
    """Return the step with the lowest mean loss of those with all of the seeds.

    The lowest step if all of their runs diverged.
    """
    means = {
        step: math.fsum(by_seed[seed] for seed in seeds)
        for step, by_seed in losses.items()
        if all(seed in by_seed for seed in seeds)
    }
    return min(means, key=lambda step: (means[step], step))
