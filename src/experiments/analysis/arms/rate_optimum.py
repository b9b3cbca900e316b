"""Fit the learning rate with the lowest loss from the losses around the best tried one.

The estimate is the vertex of the parabola through the mean losses at the best learning rate and its
two neighbours, over log10 of the rate, with all seeds; the best tried rate itself would be subject
to the winner's curse. Its interval is the jackknife's over seeds, all learning rates of a seed
together. A parabola through three points fits any curve, so it is checked by a second one, by least
squares through all rates within half a decade of the best, at least five: if the two optima
differ by more than a tenth of a decade, no verdict may rest on them. Half of what their difference
exceeds two standard errors by is added to the interval as the error of the fit, as the cubic part
of a curve moves the wide optimum more than three times as much as the narrow one; on a clearly
skewed curve it then covers 91 to 94 %. The wide fit is no estimate of its own: with two seeds at
the outer rates its interval covers 84 to 87 %.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.statistics import MeanEstimate

HALF_DECADE = math.sqrt(10) * 1.02
"""Factor around the best learning rate that is fitted; grid rates are rounded to three digits."""
OUTER_SEEDS = 2
"""Seeds that the outer rates of the wide fit must have."""
AGREEMENT = 0.1
"""Largest difference of the two optima, in decades, at which a verdict may rest on them."""

RateLosses = Mapping[float, Mapping[int, float]]
"""Validation loss by learning rate, then by seed."""


@dataclass(frozen=True)
class Optimum:
    """A learning rate, or a ratio of two, with its 95 % interval."""

    estimate: float
    low: float | None
    """None for a single seed."""
    high: float | None
    rates: tuple[float, ...]
    """The learning rates used in the fit."""
    seeds: int
    curvature: float
    """Nats per squared decade; 0 for a ratio."""
    problem: str | None = None
    """Why no verdict may rest on the estimate, or None."""


@dataclass(frozen=True)
class RateFit:
    """A parabola through the losses at the best learning rate and its neighbours."""

    rates: tuple[float, ...]
    """The three learning rates, ascending."""
    seeds: tuple[int, ...]
    coefficients: Any
    """Of x², x and 1 with x = log10 of the rate: of all seeds, then without each; (1 + n, 3)."""
    wide: float | None
    """log10 of the optimum of the wide fit; None if it could not be made."""

    @property
    def vertices(self) -> list[float]:
        """log10 of the optimum of all seeds, then without each seed."""
        a, b = self.coefficients[:, 0], self.coefficients[:, 1]
        return (-b / (2 * a)).tolist()  # type: ignore[no-any-return]

    @property
    def problem(self) -> str | None:
        """Why no verdict may rest on the optimum, or None."""
        centre = f"around the best learning rate, {self.rates[1]:.3g},"
        if self.wide is None:
            return (
                f"{centre} the fit cannot be checked: five rates within a decade are needed, with "
                f"finite losses and at least {OUTER_SEEDS} seeds at the outer two"
            )
        apart = abs(self.wide - self.vertices[0])
        if apart <= AGREEMENT:
            return None
        return (
            f"{centre} the loss is no parabola: the optima of the narrow and the wide fit differ "
            f"by {apart:.2f} decades ({AGREEMENT} are allowed)"
        )

    def log_rate(self) -> MeanEstimate:
        """Return log10 of the optimum."""
        overall, *left_out = self.vertices
        found = _jackknife(overall, left_out)
        apart = 0.0 if self.wide is None else abs(self.wide - overall)
        return replace(found, systematic_error=max(apart - 2 * found.seed_error, 0.0) / 2)


def fit_rates(losses: RateLosses) -> RateFit | None:
    """Fit the parabola, or return None if there is none with a minimum.

    Args:
        losses: seeds that not all rates have are used in the wide fit only.

    Returns:
        The fit. None if the best learning rate has no neighbour with all seeds on either side
        within half a decade, or if without one of the seeds there is no minimum between the
        neighbours.
    """
    import numpy as np

    seeds = _deciding_seeds(losses)
    complete = [r for r in sorted(losses) if seeds and _finite(losses[r], seeds)]
    if len(complete) < 3:
        return None
    best = min(complete, key=lambda r: math.fsum(losses[r][s] for s in seeds))
    index = complete.index(best)
    near = tuple(r for r in complete[max(0, index - 1) : index + 2] if _is_near(r, best))
    if len(near) < 3 or near[1] != best:
        return None
    x, table = np.log10(near), np.asarray([[losses[r][s] for r in near] for s in seeds])
    n, total = len(seeds), table.sum(axis=0)
    means = np.vstack([total / n, (total - table) / (n - 1)] if n > 1 else [total])
    coefficients = np.linalg.solve(np.vander(x, 3), means.T).T
    fit = RateFit(near, seeds, coefficients, _wide_optimum(losses, near, seeds))
    if not (coefficients[:, 0] > 0).all():
        return None
    return fit if all(x[0] < vertex < x[-1] for vertex in fit.vertices) else None


def optimum(losses: RateLosses, confidence: float = 0.95) -> Optimum | None:
    """Return the learning rate with the lowest loss, or None as `fit_rates`."""
    fit = fit_rates(losses)
    if fit is None:
        return None
    curvature = float(fit.coefficients[0, 0])
    return _as_rate(fit.log_rate(), fit.rates, curvature, fit.problem, confidence)


def log_rate_ratio(
    losses: RateLosses, reference: RateLosses
) -> tuple[MeanEstimate, tuple[RateFit, RateFit]] | None:
    """Return log10 of the ratio of two optima, paired by seed, and the two fits.

    Args:
        losses: of the arm in the numerator.
        reference: of the arm in the denominator.

    Returns:
        None if one of the two has no optimum over the seeds that both have.
    """
    shared = set(_deciding_seeds(losses)) & set(_deciding_seeds(reference))
    numerator, denominator = (fit_rates(_for_seeds(one, shared)) for one in (losses, reference))
    if numerator is None or denominator is None or numerator.seeds != denominator.seeds:
        return None
    overall, *left_out = (
        a - b for a, b in zip(numerator.vertices, denominator.vertices, strict=True)
    )
    error = numerator.log_rate().systematic_error + denominator.log_rate().systematic_error
    found = replace(_jackknife(overall, left_out), systematic_error=error)
    return found, (numerator, denominator)


def rate_ratio(
    losses: RateLosses, reference: RateLosses, confidence: float = 0.95
) -> Optimum | None:
    """Return the ratio of the optimal learning rates of two arms, as `log_rate_ratio`."""
    found = log_rate_ratio(losses, reference)
    if found is None:
        return None
    estimate, (numerator, denominator) = found
    rates = (*numerator.rates, *denominator.rates)
    return _as_rate(estimate, rates, 0.0, numerator.problem or denominator.problem, confidence)


def left_out_optima(losses: RateLosses) -> tuple[float, dict[int, float]] | None:
    """Return the optimum over all seeds and the leave-one-out optima, for a jackknife.

    Returns:
        log10 of the optimum over all seeds, and for each seed log10 of the optimum without it. None
        as `fit_rates`, or if there is only one seed.
    """
    fit = fit_rates(losses)
    if fit is None or len(fit.seeds) < 2:
        return None
    overall, *left_out = fit.vertices
    return overall, dict(zip(fit.seeds, left_out, strict=True))


def _wide_optimum(
    losses: RateLosses, near: tuple[float, ...], seeds: tuple[int, ...]
) -> float | None:
    """Return log10 of the optimum of all rates within half a decade, by least squares.

    The mean of a seed over the three central rates is subtracted from its losses, as the outer
    rates have fewer seeds.
    """
    import numpy as np

    level = {s: math.fsum(losses[r][s] for r in near) / len(near) for s in seeds}
    means = {}
    for rate in sorted(losses):
        own = [s for s in seeds if s in losses[rate]]
        enough = len(own) >= min(OUTER_SEEDS, len(seeds)) and _finite(losses[rate], own)
        if enough and _is_near(rate, near[1]):
            means[rate] = math.fsum(losses[rate][s] - level[s] for s in own) / len(own)
    if len(means) < 5 or not min(means) < near[0] or not max(means) > near[-1]:
        return None
    x = np.log10(list(means))
    a, b, _ = np.polyfit(x, list(means.values()), 2)
    return float(-b / (2 * a)) if a > 0 else None


def _jackknife(overall: float, left_out: list[float]) -> MeanEstimate:
    if not left_out:
        return MeanEstimate(overall, 0.0, 1, method="none")
    return statistics.jackknife_estimate(overall, left_out)


def _as_rate(
    log: MeanEstimate,
    rates: tuple[float, ...],
    curvature: float,
    problem: str | None,
    confidence: float,
) -> Optimum:
    interval = log.interval(confidence)
    low, high = (None if end is None else 10**end for end in (interval.low, interval.high))
    return Optimum(10**log.estimate, low, high, rates, log.seeds, curvature, problem)


def _deciding_seeds(losses: RateLosses) -> tuple[int, ...]:
    """Return the seeds of the learning rates that have the most."""
    most = max((len(by_seed) for by_seed in losses.values()), default=0)
    widest = [set(by_seed) for by_seed in losses.values() if len(by_seed) == most]
    return tuple(sorted(set.intersection(*widest))) if widest else ()


def _for_seeds(losses: RateLosses, seeds: set[int]) -> dict[float, dict[int, float]]:
    kept = {
        rate: {s: by_seed[s] for s in seeds if s in by_seed} for rate, by_seed in losses.items()
    }
    return {rate: by_seed for rate, by_seed in kept.items() if by_seed}


def _finite(by_seed: Mapping[int, float], seeds: Any) -> bool:
    return all(math.isfinite(by_seed.get(seed, math.nan)) for seed in seeds)


def _is_near(rate: float, best: float) -> bool:
    return 1 / HALF_DECADE <= rate / best <= HALF_DECADE
