"""The runs of an arm so far in, the runs it needs next out: how a learning rate is tuned.

Rates lie on one log grid, four to a decade, the same for all arms. With the first seed the grid is
searched until the best rate has three tried neighbours on either side; the three rates around the
best are then made with all seeds; if their mean is best at an end, its neighbour follows. So every
arm ends with the same number of rates within three steps of its optimum and with the same seeds at
the rates that decide, wherever its search began.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.analysis.arms.reading import Arm

PER_DECADE = 4
"""Rates a decade: neighbours differ by a factor of 10^(1/4) = 1.78."""
REACH = 3
"""Rates on either side of the optimum that every arm must have tried."""
SEEDS = (0, 43, 100, 977, 31415)
"""Scattered on purpose: seeds that follow each other were seen to spread less, see olokevin in
`lora-without-regret`, 0.09 points over 42 to 44 against 0.81 over 0, 43 and 100."""

Phase = Literal["coarse", "final", "done", "edge"]


@dataclass(frozen=True)
class Cell:
    """A run that is needed."""

    rate: float
    seed: int


@dataclass(frozen=True)
class Design:
    """How an arm is tuned."""

    low: int
    """First grid step of the first grid; a step's rate is `grid_rate(step)`."""
    high: int
    seeds: tuple[int, ...] = SEEDS
    """The first one searches, all of them decide."""
    furthest: int = 12
    """Steps that the grid may be extended by at either end."""


@dataclass(frozen=True)
class Next:
    """What an arm needs."""

    cells: tuple[Cell, ...]
    phase: Phase
    """`edge`: the optimum would lie further out than the grid may be extended."""
    extended: tuple[float, ...]
    """Rates outside the first grid that were tried or are needed."""


def grid_rate(step: int) -> float:
    """Return the rate of a grid step, in three significant digits.

    >>> [grid_rate(step) for step in (-12, -11, -10, -9, -8)]
    [0.001, 0.00178, 0.00316, 0.00562, 0.01]
    """
    return float(f"{10 ** (step / PER_DECADE):.3g}")


def grid_step(rate: float) -> int:
    """Return the grid step nearest to a rate."""
    return round(math.log10(rate) * PER_DECADE)


def least_runs(seeds: int, repeats: int = 0) -> int:
    """Return how many runs tuning one arm takes where its first grid needs no extension.

    Args:
        seeds: of the deciding rates.
        repeats: of the best run, for the noise floor.

    >>> least_runs(5)
    19
    """
    return 2 * REACH + 1 + 3 * (seeds - 1) + repeats


def rule_cells(arm: Arm | None, design: Design, rate: float) -> tuple[Cell, ...]:
    """Return the runs that an arm lacks to know what a rule's rate costs, with all seeds.

    They are at the two grid rates around it, between which its loss is interpolated.
    """
    at = math.log10(rate) * PER_DECADE
    losses = _on_grid(arm, design)
    steps = sorted({math.floor(at + 1e-3), math.ceil(at - 1e-3)})
    return tuple(Cell(grid_rate(s), seed) for s in steps for seed in _lacking(losses, s, design))


def first_grid(centre: float) -> tuple[int, int]:
    """Return the ends of a first grid of seven rates around one that is thought to be good.

    >>> first_grid(5e-3)
    (-12, -6)
    """
    return grid_step(centre) - REACH, grid_step(centre) + REACH


def next_cells(arm: Arm | None, design: Design) -> Next:
    """Return the runs that an arm needs next; none where it is done.

    Args:
        arm: what was made so far, None where nothing was. Runs at rates off the grid are left out.
        design: how it is tuned.
    """
    losses = _on_grid(arm, design)
    limits = design.low - design.furthest, design.high + design.furthest
    search = {step: own[design.seeds[0]] for step, own in losses.items() if design.seeds[0] in own}
    missing = [step for step in range(design.low, design.high + 1) if step not in search]
    if missing:
        return _asked(design, losses, "coarse", dict.fromkeys(missing, design.seeds[:1]))
    best = _lowest(search)
    while True:
        wide = [step for step in _around(best, REACH, limits) if step not in search]
        if wide:
            return _asked(design, losses, "coarse", dict.fromkeys(wide, design.seeds[:1]))
        if best in limits:
            return _asked(design, losses, "edge", {})
        needed = {step: _lacking(losses, step, design) for step in _around(best, 1, limits)}
        if any(needed.values()):
            return _asked(design, losses, "final", needed)
        means = {s: _mean(own) for s, own in losses.items() if not _lacking(losses, s, design)}
        if _lowest(means) == best:
            return _asked(design, losses, "done", {})
        best = _lowest(means)


def _on_grid(arm: Arm | None, design: Design) -> dict[int, dict[int, float]]:
    """Return grid step -> seed -> loss."""
    found: dict[int, dict[int, float]] = {}
    for rate in arm.rates if arm is not None else ():
        step = grid_step(rate)
        if math.isclose(grid_rate(step), rate, rel_tol=1e-6):
            own = arm.losses(rate) if arm is not None else {}
            found[step] = {seed: own[seed] for seed in own if seed in design.seeds}
    return found


def _asked(
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


def _lacking(losses: Mapping[int, Mapping[int, float]], step: int, design: Design) -> list[int]:
    return [seed for seed in design.seeds if seed not in losses.get(step, {})]


def _mean(own: Mapping[int, float]) -> float:
    return math.fsum(own.values()) / len(own) if all(map(math.isfinite, own.values())) else math.inf


def _lowest(losses: Mapping[int, float]) -> int:
    """Return the step of the lowest loss; where all diverged, the lowest rate."""
    return min(losses, key=lambda step: (losses[step], step))
