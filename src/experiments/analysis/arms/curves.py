"""Losses at the rates around the best one in, the learning rate of the lowest loss out.

A parabola through the mean losses against log10 of the rate has its lowest point between grid
rates, where the best grid rate alone would carry the winner's curse. The interval resamples seeds,
all rates of a seed together. Percentiles of so few values are too narrow, so they are taken
further out, by as much as makes the interval of a mean Student's (T. Hesterberg, "What teachers
should know about the bootstrap", The American Statistician 69 (2015), section 5.3, "expanded
percentile"). At 5 seeds it covers 92 % of simulated optima, plain percentiles and BCa 83 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RESAMPLES = 10_000
WITHIN_FACTOR = 3.0
"""Rates further than this from the best one are left out: the curve is a parabola only nearby."""


@dataclass(frozen=True)
class Optimum:
    """A learning rate, or a ratio of two, with its bootstrap interval."""

    estimate: float
    low: float | None
    """None where the resamples leave the fitted rates: the data set no lower bound."""
    high: float | None
    rates: tuple[float, ...]
    """The rates that were fitted."""
    seeds: int
    curvature: float
    """Nats per squared decade; 0 for a ratio."""


def optimum(
    losses: Mapping[float, Mapping[int, float]],
    seed: int = 0,
    confidence: float = 0.95,
) -> Optimum | None:
    """Return the rate with the lowest loss by a quadratic fit in log10 of the rate.

    Args:
        losses: rate -> seed -> validation loss; only rates and seeds without a gap are used, and
            of these only rates within WITHIN_FACTOR of the best.
        seed: of the resamples.
        confidence: of the interval.

    Returns:
        None where fewer than three rates can be fitted, the parabola has no lowest point, or it
        lies outside the fitted rates.
    """
    fit = _Fit.of(losses)
    if fit is None:
        return None
    vertex = float(fit.vertices(fit.table.mean(axis=0)))
    if not fit.x[0] < vertex < fit.x[-1]:
        return None
    n = len(fit.table)
    low = high = None
    if n > 1:
        drawn = fit.vertices(fit.table[_resamples(n, seed)].mean(axis=1))
        low, high = _ends(drawn, n, confidence, (fit.x[0], fit.x[-1]))
    return Optimum(
        10**vertex,
        None if low is None else 10**low,
        None if high is None else 10**high,
        fit.rates,
        n,
        float(fit.coefficients(fit.table.mean(axis=0))[0]),
    )


def rate_ratio(
    losses: Mapping[float, Mapping[int, float]],
    reference: Mapping[float, Mapping[int, float]],
    seed: int = 0,
    confidence: float = 0.95,
) -> Optimum | None:
    """Return the optimum of one arm over that of another, paired by seed.

    Args:
        losses: of the arm, as in `optimum`.
        reference: of the arm in the denominator.
        seed: of the resamples, which are the same seeds in both arms.
        confidence: of the interval.

    Returns:
        None where one of the two has no optimum or they share no seeds.
    """
    shared = _seeds(losses) & _seeds(reference)
    fits = [_Fit.of(_only(one, shared)) for one in (losses, reference)]
    parts = [optimum(_only(one, shared), seed, confidence) for one in (losses, reference)]
    top, bottom = fits
    if top is None or bottom is None or parts[0] is None or parts[1] is None:
        return None
    n, low, high = len(shared), None, None
    if n > 1:
        drawn = _resamples(n, seed)
        vertices = [fit.vertices(fit.table[drawn].mean(axis=1)) for fit in (top, bottom)]
        ends = top.x[0] - bottom.x[-1], top.x[-1] - bottom.x[0]
        low, high = _ends(vertices[0] - vertices[1], n, confidence, ends)
        if parts[0].low is None or parts[1].high is None:
            low = None
        if parts[0].high is None or parts[1].low is None:
            high = None
    return Optimum(
        parts[0].estimate / parts[1].estimate,
        None if low is None else 10**low,
        None if high is None else 10**high,
        (*top.rates, *bottom.rates),
        n,
        0.0,
    )


def left_out_optima(
    losses: Mapping[float, Mapping[int, float]],
) -> tuple[float, dict[int, float]] | None:
    """Return log10 of the optimum of all seeds, and seed -> that of the others, for a jackknife.

    A parabola through the losses of one seed often has no lowest point; one through the means of
    all but one has.

    Args:
        losses: as in `optimum`.

    Returns:
        None where one of these optima is not between the fitted rates, or there is one seed.
    """
    fit, seeds = _Fit.of(losses), sorted(_seeds(losses))
    if fit is None or len(seeds) < 2:
        return None
    total, n = fit.table.sum(axis=0), len(seeds)
    means = [total / n, *((total - own) / (n - 1) for own in fit.table)]
    found = [float(fit.vertices(mean)) for mean in means]
    if not all(fit.x[0] < vertex < fit.x[-1] for vertex in found):
        return None
    return found[0], dict(zip(seeds, found[1:], strict=True))


@dataclass(frozen=True)
class _Fit:
    """A least-squares parabola for any losses at fixed rates."""

    rates: tuple[float, ...]
    x: Any
    """log10 of the rates, shape (k,)."""
    table: Any
    """Losses, shape (seeds, k)."""
    solve: Any
    """Losses -> coefficients of x², x, 1; shape (3, k)."""

    @staticmethod
    def of(losses: Mapping[float, Mapping[int, float]]) -> "_Fit | None":
        import numpy as np

        seeds = sorted(_seeds(losses))
        finite = [r for r in sorted(losses) if all(math.isfinite(losses[r][s]) for s in seeds)]
        if not seeds or not finite:
            return None
        best = min(finite, key=lambda r: math.fsum(losses[r][s] for s in seeds))
        near = [r for r in finite if 1 / WITHIN_FACTOR <= r / best <= WITHIN_FACTOR]
        if len(near) < 3:
            return None
        x = np.log10(np.asarray(near))
        table = np.asarray([[losses[r][s] for r in near] for s in seeds])
        return _Fit(tuple(near), x, table, np.linalg.pinv(np.vander(x, 3)))

    def coefficients(self, means: Any) -> Any:
        """Return x², x and 1's coefficients for losses of shape (..., k)."""
        return means @ self.solve.T

    def vertices(self, means: Any) -> Any:
        """Return log10 of the optimum for losses of shape (..., k), within the fitted rates."""
        import numpy as np

        found = self.coefficients(means)
        a, b = found[..., 0], found[..., 1]
        falling = means[..., 0] > means[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = np.where(a > 0, -b / (2 * a), np.where(falling, np.inf, -np.inf))
        return np.clip(vertex, self.x[0], self.x[-1])


def _seeds(losses: Mapping[float, Mapping[int, float]]) -> set[int]:
    """Return the seeds that every rate has."""
    return set.intersection(*(set(own) for own in losses.values())) if losses else set()


def _only(
    losses: Mapping[float, Mapping[int, float]], seeds: set[int]
) -> dict[float, dict[int, float]]:
    return {rate: {s: own[s] for s in seeds if s in own} for rate, own in losses.items()}


def _resamples(n: int, seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))


def _ends(
    drawn: Any, n: int, confidence: float, limits: Sequence[float]
) -> tuple[float | None, float | None]:
    """Return the expanded percentiles; None for an end that lies at the limits of the fit."""
    import numpy as np
    from scipy.stats import norm, t

    tail = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + confidence) / 2, n - 1))
    low, high = (float(value) for value in np.quantile(drawn, [tail, 1 - tail]))
    return (
        low if low > limits[0] + 1e-9 else None,
        high if high < limits[1] - 1e-9 else None,
    )
