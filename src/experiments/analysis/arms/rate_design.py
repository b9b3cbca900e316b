"""Plan which runs an arm needs next to tune its learning rate.

Learning rates are on one log grid with four steps per decade, the same for all arms. With the
first seed, the grid is searched until the best learning rate has three tried neighbours on either
side. The three learning rates around the best are then run with all seeds. If their mean loss is
lowest at an end, the next neighbour follows. Every arm thus ends with the same number of learning
rates within three steps of its optimum and the same seeds at the deciding learning rates, wherever
its search began.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.analysis.arms.grouping import Arm

PER_DECADE = 4
"""Grid steps per decade: neighbours differ by a factor of 10^(1/4) = 1.78."""
REACH = 3
"""Learning rates that every arm must have tried on either side of its optimum."""
SEEDS = (0, 43, 100, 977, 31415)
"""Deliberately scattered: consecutive seeds were seen to spread less. In `lora-without-regret`,
olokevin reports 0.09 points over seeds 42 to 44 and 0.81 over 0, 43 and 100."""

Phase = Literal["coarse", "final", "done", "edge"]


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


@dataclass(frozen=True)
class Next:
    """The next runs an arm needs, and the phase of its tuning."""

    cells: tuple[Cell, ...]
    phase: Phase
    """`edge`: the optimum would be further out than the grid may be extended."""
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


def least_runs(seeds: int, repeats: int = 0) -> int:
    """Return how many runs it takes to tune one arm if its first grid needs no extension.

    Args:
        seeds: number of seeds at the deciding learning rates.
        repeats: number of repeats of the best run, for the noise floor.

    >>> least_runs(5)
    19
    """
    return 2 * REACH + 1 + 3 * (seeds - 1) + repeats


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
    """Return the ends of a first grid of seven learning rates around a plausible one.

    >>> first_grid(5e-3)
    (-12, -6)
    """
    return grid_step(centre) - REACH, grid_step(centre) + REACH


def next_cells(arm: Arm | None, design: Design) -> Next:
    """Return the runs that an arm needs next, or none if it is done.

    Args:
        arm: the runs so far, or None if there are none. Runs off the grid are ignored.
        design: how the arm is tuned.
    """
    losses = _on_grid(arm, design)
    limits = design.low - design.furthest, design.high + design.furthest
    search = {
        step: by_seed[design.seeds[0]]
        for step, by_seed in losses.items()
        if design.seeds[0] in by_seed
    }
    missing = [step for step in range(design.low, design.high + 1) if step not in search]
    if missing:
        return _next(design, losses, "coarse", dict.fromkeys(missing, design.seeds[:1]))
    best = _lowest(search)
    while True:
        unsearched = [step for step in _around(best, REACH, limits) if step not in search]
        if unsearched:
            return _next(design, losses, "coarse", dict.fromkeys(unsearched, design.seeds[:1]))
        if best in limits:
            return _next(design, losses, "edge", {})
        needed = {step: _missing_seeds(losses, step, design) for step in _around(best, 1, limits)}
        if any(needed.values()):
            return _next(design, losses, "final", needed)
        means = {
            s: _mean(by_seed)
            for s, by_seed in losses.items()
            if not _missing_seeds(losses, s, design)
        }
        if _lowest(means) == best:
            return _next(design, losses, "done", {})
        best = _lowest(means)


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


def _missing_seeds(
    losses: Mapping[int, Mapping[int, float]], step: int, design: Design
) -> list[int]:
    return [seed for seed in design.seeds if seed not in losses.get(step, {})]


def _mean(losses: Mapping[int, float]) -> float:
    return (
        math.fsum(losses.values()) / len(losses)
        if all(map(math.isfinite, losses.values()))
        else math.inf
    )


def _lowest(losses: Mapping[int, float]) -> int:
    """Return the step with the lowest loss, or the lowest step if all runs diverged."""
    return min(losses, key=lambda step: (losses[step], step))
