"""Choose the learning rate of an arm and list every reason not to trust the choice."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.analysis.arms.grouping import Arm, ArmRun
from experiments.analysis.arms.rate_design import PER_DECADE, REACH
from experiments.analysis.arms.rate_optimum import Optimum, optimum
from experiments.analysis.arms.reasons import Reason

ENOUGH_SEEDS = 5
_TOLERANCE = 1.02
"""Learning rates are rounded to three digits, so neighbours differ by a factor of 1.77 to 1.79."""
_STEP = 10 ** (1 / PER_DECADE) * _TOLERANCE


@dataclass(frozen=True)
class Point:
    """A learning rate on an arm's loss curve."""

    rate: float
    losses: Mapping[int, float]
    """Validation loss by seed, in nats per token; infinite if the run diverged."""

    @property
    def mean(self) -> float:
        """The mean loss; infinite if one of the runs diverged."""
        return _mean(self.losses)


@dataclass(frozen=True)
class Tuned:
    """An arm at its best learning rate."""

    arm: Arm
    seeds: tuple[int, ...]
    """The seeds that decide, run at the best learning rate and its neighbours."""
    curve: tuple[Point, ...]
    """All learning rates that were tried, in ascending order."""
    best: float | None
    """The tried learning rate with the lowest mean validation loss over the deciding seeds."""
    optimum: Optimum | None
    near: tuple[float, ...]
    """The tried learning rates within two grid steps of the best one."""
    reasons: tuple[Reason, ...]

    @property
    def runs(self) -> dict[int, ArmRun]:
        """The run of each deciding seed at the best learning rate."""
        runs = {} if self.best is None else self.arm.at(self.best)
        return {seed: runs[seed] for seed in self.seeds if seed in runs}

    def final(self, score: str) -> dict[int, float]:
        """Return a score by seed at the best learning rate; runs without the score are left out."""
        scores = {seed: run.scores.get(score) for seed, run in self.runs.items()}
        return {s: v for s, v in scores.items() if v is not None and math.isfinite(v)}

    def losses(self) -> dict[float, Mapping[int, float]]:
        """Return validation losses by learning rate, for the deciding seeds that were run there."""
        return _losses_of(self.curve, set(self.seeds))


def tune(arm: Arm, seeds: Sequence[int] | None = None) -> Tuned:
    """Choose an arm's learning rate on the validation split and list reasons for caution.

    Args:
        arm: the arm with its runs.
        seeds: seeds that every deciding learning rate must have; None = as many as any has.
    """
    curve = tuple(Point(rate, arm.losses(rate)) for rate in arm.rates)
    most = max((len(point.losses) for point in curve), default=0)
    widest = [set(point.losses) for point in curve if len(point.losses) == most]
    expected = set(seeds) if seeds is not None else set().union(*widest)
    complete = [p for p in curve if expected and expected <= set(p.losses)]
    finite = [p for p in complete if math.isfinite(_mean(_for_seeds(p.losses, expected)))]
    best = min(finite, key=lambda p: _mean(_for_seeds(p.losses, expected)), default=None)
    chosen = best.rate if best else None
    deciding = tuple(sorted(expected))
    fitted_optimum = optimum(_losses_of(curve, expected)) if best else None
    near = tuple(p.rate for p in curve if chosen and _steps(p.rate, chosen) <= REACH)
    reasons = [*arm.reasons, *_problems(curve, chosen, expected)]
    if chosen is not None and fitted_optimum is None:
        text = f"no parabola with a minimum fits the losses around learning rate {chosen:.3g}"
        reasons.append(Reason("flat_curve", text, blocks=False))
    return Tuned(arm, deciding, curve, chosen, fitted_optimum, near, tuple(reasons))


def _problems(curve: Sequence[Point], best: float | None, expected: set[int]) -> Iterator[Reason]:
    if not curve:
        yield Reason("missing_cells", "no run of the arm has finished")
        return
    if all(math.isinf(loss) for point in curve for loss in point.losses.values()):
        yield Reason(
            "all_diverged",
            f"all runs diverged, down to the lowest learning rate {curve[0].rate:.3g}",
        )
        return
    if len(expected) == 1:
        yield Reason("one_seed", f"each learning rate has only one seed ({min(expected)})")
    elif len(expected) < ENOUGH_SEEDS:
        text = f"the arm has {len(expected)} seeds; at least {ENOUGH_SEEDS} are recommended"
        yield Reason("few_seeds", text, blocks=False)
    if best is None:
        yield from _missing(curve, expected)
        return
    yield from _around_best([point.rate for point in curve], curve, best, expected)


def _around_best(
    rates: Sequence[float], curve: Sequence[Point], best: float, expected: set[int]
) -> Iterator[Reason]:
    index = rates.index(best)
    if index in (0, len(rates) - 1):
        side = "lowest" if index == 0 else "highest"
        yield Reason("edge_optimum", f"the best learning rate, {best:.3g}, is the {side} one tried")
    neighbours = curve[max(0, index - 1) : index + 2]
    distant = [p.rate for p in neighbours if max(p.rate / best, best / p.rate) > _STEP]
    if distant:
        yield Reason(
            "coarse_grid",
            f"the neighbours of the best learning rate, {best:.3g}, are more than a factor "
            f"{10 ** (1 / PER_DECADE):.2f} away: {_joined(distant)}",
        )
    yield from _missing(neighbours, expected)


def _missing(points: Sequence[Point], expected: set[int]) -> Iterator[Reason]:
    """Yield reasons for missing cells: seeds that differ, or planned cells that were not run."""
    missing = {p.rate: sorted(expected - set(p.losses)) for p in points}
    cells = [f"{rate:.3g} with seed {s}" for rate, seeds in missing.items() for s in seeds]
    if cells:
        yield Reason("missing_cells", f"not finished: {_joined(cells)}")
    seed_sets = {frozenset(p.losses) for p in points}
    if len(seed_sets) > 1:
        counts = ", ".join(f"{len(p.losses)} at {p.rate:.3g}" for p in points)
        text = f"the seeds differ between learning rates around the best one ({counts})"
        yield Reason("unequal_seeds", text, blocks=bool(cells))


def _losses_of(curve: Sequence[Point], seeds: set[int]) -> dict[float, Mapping[int, float]]:
    by_rate = {p.rate: _for_seeds(p.losses, seeds & set(p.losses)) for p in curve}
    return {rate: by_seed for rate, by_seed in by_rate.items() if by_seed}


def _for_seeds(losses: Mapping[int, float], seeds: set[int]) -> dict[int, float]:
    return {seed: losses[seed] for seed in sorted(seeds)}


def _mean(losses: Mapping[int, float]) -> float:
    values = list(losses.values())
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def _steps(rate: float, reference: float) -> float:
    return abs(math.log10(rate / reference)) * PER_DECADE - 0.1


def _joined(values: Sequence[float | str], most: int = 6) -> str:
    texts = [value if isinstance(value, str) else f"{value:.3g}" for value in values]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
