"""Draw estimates of known truth, as the noise of seeds, test rows and learning rates makes them.

Noise between seeds has mean 0 and standard deviation 1. Means over seeds and rows are drawn by
their sufficient statistics, which are exact for normal row and residual effects; learning rates go
through the fits of `analysis.arms`.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import expit

from experiments.analysis import arms, statistics
from experiments.analysis.arms.excess_loss import excess_root
from experiments.analysis.statistics import HOLDS, MeanEstimate, RangeRule, Rule, Spread
from experiments.analysis.statistics.estimates import half_width

ROWS = 300
ROW_ERROR = 0.2
"""Standard error due to test rows, in standard deviations between seeds."""
RESIDUAL = 0.1
"""Share of the variance between seeds that is a residual of the rows."""
OUTLIERS = 0.1
CURVATURE, LOWEST_LOSS, RUN_NOISE = 0.3, 0.15, 0.004
"""Of simulated loss curves: nats per squared decade, nats, and nats between runs."""
STEP = 0.25
"""Decades between neighbouring learning rates."""


@dataclass(frozen=True)
class Noise:
    """A distribution with mean 0 and standard deviation 1."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], Any]
    skewed: bool = False


def _outliers(generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
    scale = np.where(generator.random(shape) < OUTLIERS, 5.0, 1.0)
    return generator.normal(size=shape) * scale / math.sqrt(1 - OUTLIERS + 25 * OUTLIERS)


def _one_sided(generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
    values = generator.normal(size=shape) + 5.0 * (generator.random(shape) < OUTLIERS)
    return (values - 5 * OUTLIERS) / math.sqrt(1 + 25 * OUTLIERS * (1 - OUTLIERS))


def _lognormal(sigma: float) -> Callable[[np.random.Generator, tuple[int, ...]], Any]:
    mean, deviation = (
        math.exp(sigma**2 / 2),
        math.exp(sigma**2 / 2) * math.sqrt(math.exp(sigma**2) - 1),
    )
    return lambda generator, shape: (generator.lognormal(0, sigma, shape) - mean) / deviation


NORMAL = Noise("normal", lambda generator, shape: generator.normal(size=shape))
NOISES = (
    NORMAL,
    Noise("10 % outliers", _outliers),
    Noise("outliers on one side", _one_sided, skewed=True),
    Noise("lognormal, sigma 0.5", _lognormal(0.5), skewed=True),
    Noise("lognormal, sigma 1", _lognormal(1.0), skewed=True),
)
PROMISED = ("normal", "10 % outliers")
"""The noises for which error rates are promised."""


@dataclass(frozen=True)
class SimulatedCell:
    """One cell of the simulation."""

    seeds: int
    noise: Noise
    with_rows: bool
    repetitions: int
    sign: float = 1.0
    """-1 mirrors a skewed distribution."""

    def generator(self, *key: int) -> np.random.Generator:
        """Return a generator that depends on the cell only."""
        names = [one.name for one in NOISES]
        cell = (self.seeds, names.index(self.noise.name), self.with_rows, int(self.sign) + 1)
        return np.random.default_rng([*cell, *key])

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
        """Return noise of the setting."""
        return self.sign * self.noise.draw(generator, shape)


@dataclass(frozen=True)
class Simulated:
    """Estimates, arrays of shape (repetitions,); an estimate is NaN where there is none."""

    estimate: Any
    seed_error: Any
    row_error: Any
    seeds: int
    systematic_error: Any = 0.0

    def ends(self, shift: Any = 0.0, alpha: float = statistics.ALPHA) -> tuple[Any, Any]:
        """Return the ends of the intervals of level 1 - alpha, moved by a shift."""
        half = half_width(self.seed_error, self.row_error, self.seeds, 1 - alpha)
        half = half + self.systematic_error
        return self.estimate + shift - half, self.estimate + shift + half

    def holds(self, rule: Rule, shift: Any = 0.0, alpha: float = statistics.ALPHA) -> Any:
        """Return where a rule holds."""
        return rule.holds(*self.ends(shift, alpha))

    def fails(self, rule: Rule, shift: Any = 0.0, alpha: float = statistics.ALPHA) -> Any:
        """Return where a rule does not hold."""
        return rule.fails(*self.ends(shift, alpha))

    def p_values(self, shift: float = 0.0) -> Any:
        """Return two-sided p-values of a truth of 0 by Student's t, negative below 0."""
        from scipy.special import stdtr

        t = (self.estimate + shift) / self.seed_error
        return np.sign(t) * 2 * stdtr(self.seeds - 1, -abs(t))

    def coverage(self, truth: float = 0.0) -> float:
        """Return how often the 95 % interval contains the truth, where there is one."""
        low, high = self.ends()
        known = np.isfinite(self.estimate)
        return float(((low <= truth) & (truth <= high))[known].mean())


def printed(
    pilot: Simulated, what: Literal["bound", "margin", "delta"], alpha: float = statistics.ALPHA
) -> Any:
    """Return what is printed as detectable from the noise that each repetition shows.

    Args:
        pilot: the estimates whose deviation is used.
        what: `bound` for the distance from a bound that is found, `margin` for the margin within
            which equal arms are found equal, `delta` for the difference that equal arms refute.
        alpha: level of the test.
    """
    deviation = pilot.seed_error * math.sqrt(pilot.seeds)
    ratio = pilot.row_error / deviation
    share, factors = _printed_factors(pilot.seeds, what, alpha)
    factor = np.interp(ratio / (1 + ratio), share, factors) if np.any(ratio) else factors[0]
    return factor * np.hypot(deviation, pilot.row_error) + pilot.systematic_error


@functools.cache
def _printed_factors(seeds: int, what: str, alpha: float) -> tuple[Any, Any]:
    """Return printed effects over the noise, by the share of the row error in it."""
    share = np.linspace(0, 0.95, 20)
    factors = []
    for ratio in share / (1 - share):
        spread = Spread(1.0, float(ratio), freedom=seeds - 1)
        if what == "margin":
            found = statistics.affordable_margin(spread, seeds, alpha)
        elif what == "delta":
            found = statistics.affordable_delta(spread, seeds, alpha)
        else:
            found = statistics.detectable_truth(RangeRule(0.0, None), HOLDS, spread, seeds, alpha)
        assert found is not None, "there is noise, and there are seeds"
        factors.append(found / math.hypot(1.0, ratio))
    return share, np.array(factors)


def over_seeds(values: Any) -> Simulated:
    """Return the means of values of shape (repetitions, seeds)."""
    n = values.shape[1]
    error = values.std(axis=1, ddof=1) / math.sqrt(n)
    return Simulated(values.mean(axis=1), error, np.zeros(len(values)), n)


def means(setting: SimulatedCell, key: int = 0) -> Simulated:
    """Return means of paired differences whose truth is 0."""
    n, generator = setting.seeds, setting.generator(1, key)
    shape = (setting.repetitions, n)
    residual = RESIDUAL if setting.with_rows else 0.0
    by_seed = math.sqrt(1 - residual) * setting.draw(generator, shape)
    by_seed = by_seed + math.sqrt(residual) * generator.normal(size=shape)
    if not setting.with_rows:
        return over_seeds(by_seed)
    by_seed = by_seed + ROW_ERROR * generator.normal(size=(setting.repetitions, 1))
    freedom, count, residual = ROWS - 1, setting.repetitions, residual / n
    v_rows = (ROW_ERROR**2 + residual) * generator.chisquare(freedom, count) / freedom
    v_residual = residual * generator.chisquare(freedom * (n - 1), count) / (freedom * (n - 1))
    row_error = np.sqrt(np.maximum(v_rows - v_residual, 0.0))
    return replace(over_seeds(by_seed), row_error=row_error)


def exact_calls(setting: SimulatedCell, difference: float, rows: int) -> Simulated:
    """Return differences of the share of exact calls, with the same rows for all seeds and arms.

    Rows differ in difficulty by 1.5 and runs by 0.1 on the logit scale; the reference solves 0.6.
    """
    generator, n = setting.generator(2, rows, round(1000 * difference)), setting.seeds
    found = []
    intercepts = _intercept(0.6), _intercept(0.6 + difference)
    for _ in range(setting.repetitions):
        difficulty = generator.normal(0, 1.5, (1, rows))
        solved = [
            generator.random((n, rows))
            < expit(intercept + difficulty + 0.1 * setting.draw(generator, (n, 1)))
            for intercept in intercepts
        ]
        found.append(statistics.crossed_estimate(solved[1].astype(float) - solved[0]))
    return _collected(found, n)


def _intercept(share: float) -> float:
    """Return the logit at which the mean over rows and runs is a share."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    logits = math.hypot(1.5, 0.1) * ndtri((np.arange(2001) + 0.5) / 2001)
    return float(brentq(lambda x: expit(x + logits).mean() - share, -9, 9))


def rate_ratios(setting: SimulatedCell, key: int = 0) -> Simulated:
    """Return log10 of ratios of two best learning rates whose truth is 0.

    The same repetition has the same curves for every key, with other noise.
    """
    generator, found = setting.generator(3, key), []
    for at in _optima(setting, 2):
        pair = [curve_losses(setting, generator, optimum) for optimum in at]
        ratio = arms.log_rate_ratio(pair[0], pair[1])
        usable = ratio is not None and all(fit.problem is None for fit in ratio[1])
        estimate = ratio[0] if ratio is not None and usable else None
        found.append(None if estimate is None else _moved(estimate, -(at[0] - at[1])))
    return _collected(found, setting.seeds)


def rule_costs(setting: SimulatedCell, roots: Any, key: int = 0) -> Simulated:
    """Return signed roots of the excess loss of a rule's rate, for true roots.

    Args:
        setting: the cell.
        roots: shape (repetitions,); the root of the true excess over the lowest loss.
        key: other noise on the same curves.
    """
    generator, found = setting.generator(4, key), []
    distances = roots / math.sqrt(CURVATURE / LOWEST_LOSS)
    for (optimum,), distance in zip(_optima(setting, 1), distances, strict=True):
        fit = arms.fit_rates(curve_losses(setting, generator, optimum))
        usable = fit is not None and fit.problem is None
        rate = 10 ** (optimum + distance)
        found.append(excess_root(fit, rate) if fit is not None and usable else None)
    return _collected(found, setting.seeds)


def _optima(setting: SimulatedCell, arms_count: int) -> Any:
    shape = (setting.repetitions, arms_count)
    return setting.generator(7).uniform(-STEP / 2, STEP / 2, shape).tolist()


def curve_losses(
    setting: SimulatedCell, generator: np.random.Generator, optimum: float, outer_seeds: int = 2
) -> dict[float, dict[int, float]]:
    """Return losses at five learning rates around the best one, the outer two with fewer seeds."""
    n, x = setting.seeds, STEP * np.arange(-3, 4)
    level = generator.normal(0, 0.01, (n, 1))
    table = LOWEST_LOSS + CURVATURE * (x - optimum) ** 2 + level
    table = table + RUN_NOISE * setting.draw(generator, (n, len(x)))
    best = 2 + int(table[:, 2:5].mean(axis=0).argmin())
    return {
        float(10 ** x[k]): dict(
            enumerate(table[: outer_seeds if abs(k - best) == 2 else n, k].tolist())
        )
        for k in range(best - 2, best + 3)
    }


def _moved(estimate: MeanEstimate, shift: float) -> MeanEstimate:
    return replace(estimate, estimate=estimate.estimate + shift)


def _collected(found: list[MeanEstimate] | list[MeanEstimate | None], seeds: int) -> Simulated:
    nothing = MeanEstimate(math.nan, math.nan, seeds)
    known = [one or nothing for one in found]
    return Simulated(
        np.array([one.estimate for one in known]),
        np.array([one.seed_error for one in known]),
        np.array([one.row_error for one in known]),
        seeds,
        np.array([one.systematic_error for one in known]),
    )
