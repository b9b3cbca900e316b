"""Simulate how learning rates are tuned: the runs it takes, the choice, and the interval it gives.

`python -m experiments.calibration.tuning_simulation` prints the table of docs/sweeps.md: the
design of `analysis.arms.rate_design`, and for comparison one without a coarse search and without
pruning: seven learning rates at the first seed, the central three at all seeds, and a second seed
at the outer two of five, without which no verdict may rest on the optimum. Losses are parabolas
over log10 of the rate; what a seed adds to all rates is common, and each run has noise of its own.
The optimum of an arm is anywhere within a decade around the middle of the first grid.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.analysis import arms
from experiments.analysis.arms import Design, rate_design
from experiments.analysis.arms.rate_design import PER_DECADE, Next, StepLosses
from experiments.analysis.arms.rate_optimum import OUTER_SEEDS

SWEEPS = 400
CASES = ((0.05, 0.002), (0.1, 0.002), (0.4, 0.002), (0.05, 0.01), (0.1, 0.01), (0.4, 0.01))
"""Curvature in nats per squared decade, and standard deviation of a run in nats."""
MIDDLE = -8
"""Grid step of the middle of the first grid."""
_SEED_SHIFT = 0.05
_SEVEN_REACH = 3

NextRuns = Callable[[StepLosses, Design], Sequence[tuple[int, int]]]
"""Returns the missing runs of an arm as pairs of grid step and seed."""


@dataclass(frozen=True)
class Rates:
    """What came of many pairs of tuned arms."""

    mean_runs: float
    most_runs: int
    within_one_step: float
    """Share of arms whose chosen rate is at most one grid step from the true optimum."""
    excess: float
    """Mean of the true loss at the chosen rate above that at the optimum, in nats."""
    judged: float
    """Share of pairs of arms with an interval of the ratio of their optima that a verdict may rest
    on: `rate_ratio` names no problem."""
    coverage: float
    """Share of these intervals that contain the true ratio."""


def five_rates(losses: StepLosses, design: Design) -> list[tuple[int, int]]:
    """Return the missing runs of the design of `rate_design`."""
    return _pairs(rate_design.next_at(losses, design))


def seven_rates(losses: StepLosses, design: Design) -> list[tuple[int, int]]:
    """Return the missing runs of the design with seven rates at the first seed."""
    first, two = design.seeds[:1], design.seeds[:OUTER_SEEDS]
    best = _lowest(losses, first) if losses else (design.low + design.high) // 2
    while True:
        for reach, seeds in ((_SEVEN_REACH, first), (1, design.seeds)):
            around = range(best - reach, best + reach + 1)
            if missing := _missing(losses, around, seeds):
                return missing
        if (lowest := _lowest(losses, design.seeds)) == best:
            return _missing(losses, (best - 2, best + 2), two)
        best = lowest


def _missing(
    losses: StepLosses, steps: Iterable[int], seeds: Sequence[int]
) -> list[tuple[int, int]]:
    return [(step, seed) for step in steps for seed in seeds if seed not in losses.get(step, {})]


def _lowest(losses: StepLosses, seeds: Sequence[int]) -> int:
    """Return the step with the lowest sum of losses of those with all of the seeds."""
    sums = {
        step: math.fsum(by_seed[seed] for seed in seeds)
        for step, by_seed in losses.items()
        if all(seed in by_seed for seed in seeds)
    }
    return min(sums, key=lambda step: sums[step])


def _pairs(asked: Next) -> list[tuple[int, int]]:
    return [(rate_design.grid_step(cell.rate), cell.seed) for cell in asked.cells]


def simulate(
    next_runs: NextRuns, curvature: float, noise: float, sweeps: int = SWEEPS, seeds: int = 5
) -> Rates:
    """Tune pairs of arms on parabolas and return how they fared.

    Args:
        next_runs: the design.
        curvature: in nats per squared decade.
        noise: standard deviation of a run, in nats.
        sweeps: number of pairs.
        seeds: number of seeds of an arm.
    """
    import numpy as np

    design = Design(MIDDLE - rate_design.REACH, MIDDLE + rate_design.REACH, tuple(range(seeds)))
    generator = np.random.default_rng([round(1e4 * curvature), round(1e4 * noise), seeds])
    runs, hits, excesses, covered = [], [], [], []
    for _ in range(sweeps):
        shift = generator.normal(0, _SEED_SHIFT, seeds)
        optima = generator.uniform(MIDDLE - 2, MIDDLE + 2, 2) / PER_DECADE
        pair = []
        for optimum in optima:
            losses = _tuned(next_runs, design, _drawn(optimum, curvature, noise, shift, generator))
            apart = abs(_lowest(losses, design.seeds) / PER_DECADE - optimum)
            runs.append(sum(map(len, losses.values())))
            hits.append(apart * PER_DECADE <= 1)
            excesses.append(curvature * apart**2)
            pair.append(losses)
        covered.append(_covers(pair, 10 ** float(optima[0] - optima[1])))
    judged = [inside for inside in covered if inside is not None]
    return Rates(
        float(np.mean(runs)),
        max(runs),
        float(np.mean(hits)),
        float(np.mean(excesses)),
        len(judged) / sweeps,
        sum(judged) / max(1, len(judged)),
    )


def _drawn(
    optimum: float, curvature: float, noise: float, shift: Any, generator: Any
) -> Callable[[int, int], float]:
    def loss(step: int, seed: int) -> float:
        distance = step / PER_DECADE - optimum
        own: float = generator.normal(shift[seed], noise)
        return curvature * distance**2 + own

    return loss


def _tuned(
    next_runs: NextRuns, design: Design, loss: Callable[[int, int], float]
) -> dict[int, dict[int, float]]:
    losses: dict[int, dict[int, float]] = {}
    while missing := next_runs(losses, design):
        for step, seed in missing:
            losses.setdefault(step, {})[seed] = loss(step, seed)
    return losses


def _covers(pair: Sequence[StepLosses], ratio: float) -> bool | None:
    """Return whether the interval contains the true ratio; None if no verdict may rest on it."""
    import numpy as np

    with np.errstate(over="ignore"):  # an interval may be wider than all numbers
        found = arms.rate_ratio(_by_rate(pair[0]), _by_rate(pair[1]))
    if found is None or found.low is None or found.high is None or found.problem is not None:
        return None
    return found.low <= ratio <= found.high


def _by_rate(losses: StepLosses) -> dict[float, Mapping[int, float]]:
    return {rate_design.grid_rate(step): by_seed for step, by_seed in losses.items()}


def table(sweeps: int = SWEEPS) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    yield (
        "| curvature | noise | design | runs: mean (most) | chosen within a step | excess loss "
        "| with interval | covers |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for curvature, noise in CASES:
        for name, next_runs in (("five rates", five_rates), ("seven rates", seven_rates)):
            found = simulate(next_runs, curvature, noise, sweeps)
            yield (
                f"| {curvature:g} | {noise:g} | {name} | {found.mean_runs:.1f} ({found.most_runs}) "
                f"| {found.within_one_step:.1%} | {found.excess:.4f} | {found.judged:.0%} "
                f"| {found.coverage:.1%} |"
            )


if __name__ == "__main__":
    print("\n".join(table(int(sys.argv[1]) if len(sys.argv) > 1 else SWEEPS)))
