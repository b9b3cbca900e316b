"""Simulate what the rules of a verdict replace or limit: other intervals, fits and promises."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.analysis import arms, statistics
from experiments.analysis.arms.rate_optimum import RateLosses
from experiments.analysis.statistics import EqualityRule, MeanEstimate, Spread
from experiments.calibration.simulated_estimates import (
    CURVATURE,
    LOWEST_LOSS,
    NOISES,
    RUN_NOISE,
    STEP,
    SimulatedCell,
    means,
)

SEEDS = (3, 5, 8)
SKEW = 0.5
"""Cubic part of a skewed loss curve, as a share of the quadratic one."""


@dataclass(frozen=True)
class Alternative:
    """A simulated share of something that the rules do not do, beside what they do."""

    about: str
    case: str
    seeds: int
    rule: float
    alternative: float


def rows(fewer: int = 1) -> list[dict[str, Any]]:
    """Return all comparisons.

    Args:
        fewer: divides the number of repetitions.
    """
    found = [*_equivalence(20_000 // fewer), *_wide_fits(1_000 // fewer), *_row_limit()]
    return [asdict(one) for one in found] + [asdict(one) for one in _ranges(300 // fewer)]


def _equivalence(repetitions: int) -> list[Alternative]:
    """Compare false verdicts of equality at the margin, by 95 % and by 90 % intervals (TOST)."""
    found = []
    for noise in NOISES:
        for seeds in SEEDS:
            signs = (1.0, -1.0) if noise.skewed else (1.0,)
            shares = []
            for level in (0.05, 0.1):
                both = []
                for sign in signs:
                    setting = SimulatedCell(seeds, noise, False, repetitions, sign)
                    low, high = means(setting).ends(4.0, level)
                    both.append(float(((low > -4.0) & (high < 4.0)).mean()))
                shares.append(round(max(both), 4))
            found.append(Alternative("false equality", noise.name, seeds, *shares))
    return found


def _wide_fits(repetitions: int) -> list[Alternative]:
    """Compare the coverage of an optimum by the narrow fit with that of the wide fit."""
    found = []
    for skew in (0.0, SKEW):
        for outer in (2, 5, 8):
            for seeds in SEEDS[1:]:
                if outer <= seeds:
                    shares = _coverages(repetitions, seeds, outer, skew)
                    curve = "skewed curve" if skew else "parabola"
                    case = f"{curve}, {outer} seeds at the outer rates"
                    found.append(Alternative("coverage of an optimum", case, seeds, *shares))
    return found


def _coverages(repetitions: int, seeds: int, outer: int, skew: float) -> tuple[float, float]:
    generator, inside = np.random.default_rng([seeds, outer, round(10 * skew)]), []
    for _ in range(repetitions):
        optimum = float(generator.uniform(-STEP / 2, STEP / 2))
        losses = _curve(generator, optimum, seeds, outer, skew)
        fit = arms.fit_rates(losses)
        if fit is None or fit.wide is None:
            continue
        left_out = [_wide_optimum(_without(losses, seed)) for seed in range(seeds)]
        wide = statistics.jackknife_estimate(fit.wide, left_out)
        inside.append((_covers(fit.log_rate(), optimum), _covers(wide, optimum)))
    narrow, wide_share = np.mean(inside, axis=0)
    return round(float(narrow), 4), round(float(wide_share), 4)


def _curve(
    generator: np.random.Generator, optimum: float, seeds: int, outer: int, skew: float
) -> dict[float, dict[int, float]]:
    x = STEP * np.arange(-2, 3)
    table = LOWEST_LOSS + CURVATURE * ((x - optimum) ** 2 + skew * (x - optimum) ** 3)
    table = table + RUN_NOISE * generator.normal(size=(seeds, 5))
    return {
        float(10 ** x[k]): dict(enumerate(table[: outer if k in (0, 4) else seeds, k].tolist()))
        for k in range(5)
    }


def _without(losses: RateLosses, seed: int) -> dict[float, dict[int, float]]:
    return {r: {s: v for s, v in own.items() if s != seed} for r, own in losses.items()}


def _wide_optimum(losses: RateLosses) -> float:
    """Return the optimum by least squares through five rates, with the seeds that each has."""
    central = sorted(losses)[1:-1]
    level = {s: np.mean([losses[r][s] for r in central]) for s in losses[central[0]]}
    y = [np.mean([v - level[s] for s, v in losses[r].items()]) for r in sorted(losses)]
    a, b, _ = np.polyfit(np.log10(sorted(losses)), y, 2)
    return float(-b / (2 * a))


def _covers(estimate: MeanEstimate, truth: float) -> bool:
    interval = estimate.interval()
    assert interval.low is not None and interval.high is not None, "there are several seeds"
    return interval.low <= truth <= interval.high


def _row_limit() -> list[Alternative]:
    """Compare the power of equality at a row error of a quarter and of a third of the margin."""
    powers = [
        statistics.word_chances(EqualityRule(1.0), 0.0, Spread(1e-9, share), 1000).holds
        for share in (0.25, 1 / 3)
    ]
    about = "power of equality without noise between seeds"
    case = "row error of a quarter, and of a third, of the margin"
    return [Alternative(about, case, 1000, *(round(p, 4) for p in powers))]


def _ranges(repetitions: int) -> list[Alternative]:
    """Return how often the printed range of seeds contains the number that is needed."""
    found, rule = [], EqualityRule(1.0)
    needed = _needed_seeds(rule)
    for seeds in SEEDS:
        shares = []
        for noise in NOISES[:2]:
            setting = SimulatedCell(seeds, noise, False, repetitions)
            seen = means(setting).seed_error
            ranges = [statistics.seeds_needed(rule, MeanEstimate(0.0, float(e), seeds))
                      for e in seen]  # fmt: skip
            inside = [(one.low or 1001) <= needed <= (one.high or 1001) for one in ranges]
            shares.append(round(float(np.mean(inside)), 4))
        about = "the range of seeds contains the number needed"
        found.append(Alternative(about, "normal noise, and 10 % outliers", seeds, *shares))
    return found


def _needed_seeds(rule: EqualityRule) -> int:
    """Return the number of seeds for 80 % power with a known deviation of 1."""
    return next(
        n
        for n in range(2, 1000)
        if statistics.word_chances(rule, 0.0, Spread(1.0), n).holds >= statistics.POWER
    )
