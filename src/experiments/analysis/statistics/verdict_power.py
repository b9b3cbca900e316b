"""Compute how often each verdict would be given, what can be detected, and how many seeds decide.

The probabilities are those of the rules in `decisions`, for normal differences. The standard
deviation between seeds is chi-distributed and independent of the mean, so each is an integral over
both (K. F. Phillips, "Power of the two one-sided tests procedure in bioequivalence", J.
Pharmacokin. Biopharm. 18 (1990)). If the true deviation is itself estimated, it is a third variable
of the integral, so that a printed effect has its power on average over what the deviation may be,
and not only if the estimate is exact. The points of the integral are Sobol's.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.analysis.statistics.decisions import (
    ALPHA,
    FAILS,
    HOLDS,
    DifferenceRule,
    EqualityRule,
    Rule,
    Word,
)
from experiments.analysis.statistics.estimates import MeanEstimate, half_width

POWER = 0.8
MOST_SEEDS = 1000
_POINTS_LOG2 = 13
"""8192 points of the integral; doubling them changes probabilities by less than 2e-3."""
_SURPLUS = 0.005
"""Added to the desired power, so that the error of the integral does not leave it short."""


@dataclass(frozen=True)
class Spread:
    """The noise of a paired difference, in the unit of the score."""

    deviation: float
    """Standard deviation between seeds, at least 0."""
    row_error: float = 0.0
    """Standard error due to test rows; more seeds do not reduce it."""
    systematic_error: float = 0.0
    """Added to the half-width of an interval, as in `MeanEstimate`."""
    freedom: int | None = None
    """Degrees of freedom of the deviation if it is estimated; None = it is known."""

    @staticmethod
    def of(estimate: MeanEstimate) -> "Spread":
        """Return the noise that an estimate over at least 2 seeds shows."""
        return Spread(
            estimate.deviation,
            estimate.row_error,
            estimate.systematic_error,
            max(1, estimate.seeds - 1),
        )

    @property
    def is_none(self) -> bool:
        """Whether there is no noise at all."""
        return not self.deviation + self.row_error > 0


@dataclass(frozen=True)
class WordChances:
    """Probabilities of the two verdicts; the rest is unresolved."""

    holds: float
    fails: float


def word_chances(
    rule: Rule, truth: float, spread: Spread, seeds: int, alpha: float = ALPHA
) -> WordChances:
    """Return the probability of each verdict.

    >>> from experiments.analysis.statistics.decisions import DifferenceRule
    >>> round(word_chances(DifferenceRule(1.0), 0.0, Spread(1.0), seeds=5).holds, 3)
    0.025

    Args:
        rule: the claim's rule.
        truth: the true value of what the rule is about.
        spread: the true noise.
        seeds: number of seeds, at least 2.
        alpha: 1 minus the level of the interval.

    Raises:
        ValueError: fewer than 2 seeds, or no noise at all.
    """
    if seeds < 2 or spread.is_none:
        raise ValueError(f"{seeds} seeds, {spread}: at least 2 seeds and some noise are needed")
    z, s, scale = _points(seeds, spread.freedom)
    errors = spread.deviation * scale / math.sqrt(seeds)
    means = truth + (errors**2 + spread.row_error**2) ** 0.5 * z
    half = half_width(errors * s, spread.row_error, seeds, 1 - alpha) + spread.systematic_error
    low, high = means - half, means + half
    return WordChances(float(rule.holds(low, high).mean()), float(rule.fails(low, high).mean()))


@functools.lru_cache(maxsize=128)
def _points(seeds: int, freedom: int | None) -> tuple[Any, Any, Any]:
    """Return equally likely standard normals, s / sigma, and sigma over its estimate."""
    from scipy.special import chdtri, ndtri

    u = _sobol()
    s = (chdtri(seeds - 1, u[:, 1]) / (seeds - 1)) ** 0.5
    scale = 1.0 if freedom is None else (freedom / chdtri(freedom, u[:, 2])) ** 0.5
    return ndtri(u[:, 0]), s, scale


@functools.cache
def _sobol() -> Any:
    from scipy.stats import qmc

    return qmc.Sobol(3, seed=0).random_base2(_POINTS_LOG2)


def detectable_truth(
    rule: Rule,
    word: Word,
    spread: Spread,
    seeds: int,
    alpha: float = ALPHA,
    power: float = POWER,
) -> float | None:
    """Return the true value nearest to the rule's bound for which a verdict has this power.

    For a claim of difference and `holds here`, this is the smallest effect that is found; for a
    claim of equality and `does not hold here`, the smallest difference that is found to be beyond
    the margin. With looks, alpha is that of the last.

    Args:
        rule: the claim's rule.
        word: `holds here` or `does not hold here`.
        spread: the noise.
        seeds: number of seeds.
        alpha: as in `word_chances`.
        power: the desired probability of the word.

    Returns:
        The value in the unit of the score; None if no true value has this power, as for a margin
        that is narrow for the noise, or with fewer than 2 seeds.
    """
    if seeds < 2 or spread.is_none:
        return None
    bound, direction, longest = rule.path(word)

    def reached(distance: float) -> bool:
        found = word_chances(rule, bound + direction * distance, spread, seeds, alpha)
        return (found.holds if word == HOLDS else found.fails) >= power + _SURPLUS

    far = 4 * half_width(spread.deviation / math.sqrt(seeds), spread.row_error, seeds, 1 - alpha)
    while far < longest and not reached(far):
        far *= 2
    if far >= longest and not reached(far := longest):
        return None
    near = 0.0
    for _ in range(14):
        middle = (near + far) / 2
        near, far = (near, middle) if reached(middle) else (middle, far)
    return bound + direction * far


def affordable_margin(
    spread: Spread, seeds: int, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """Return the smallest margin within which equal arms are found equal with this power.

    A margin below this is not frozen: more seeds or rows are needed first.
    """
    return _smallest_size(EqualityRule, HOLDS, spread, seeds, alpha, power)


def affordable_delta(
    spread: Spread, seeds: int, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """Return the smallest delta of a claim of difference that a truth of 0 refutes with this power.

    A difference of this size is found with the same power.
    """
    return _smallest_size(DifferenceRule, FAILS, spread, seeds, alpha, power)


def _smallest_size(
    rule: Callable[[float], Rule], word: Word, spread: Spread, seeds: int, alpha: float,
    power: float,
) -> float | None:  # fmt: skip
    """Return the smallest size of a rule whose word has this power at a truth of 0."""
    if seeds < 2 or spread.is_none:
        return None

    def enough(size: float) -> bool:
        found = word_chances(rule(size), 0.0, spread, seeds, alpha)
        return (found.holds if word == HOLDS else found.fails) >= power + _SURPLUS

    near = 0.0
    far = half_width(spread.deviation / math.sqrt(seeds), spread.row_error, seeds, 1 - alpha)
    while not enough(far):
        near, far = far, 2 * far
    for _ in range(14):
        middle = (near + far) / 2
        near, far = (near, middle) if enough(middle) else (middle, far)
    return far


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds would decide, as a range because the deviation is itself uncertain."""

    low: int | None = None
    high: int | None = None
    """None = more than MOST_SEEDS."""
    rows_limit: bool = False
    """Whether no number of seeds would decide, as the test rows alone are too few."""

    def __str__(self) -> str:
        if self.rows_limit:
            return "no number of seeds: rows"
        if self.low is None:
            return f"more than {MOST_SEEDS} seeds"
        top = f"more than {MOST_SEEDS}" if self.high is None else str(self.high)
        return f"{self.low} to {top} seeds" if top != str(self.low) else f"{self.low} seeds"


def seeds_needed(
    rule: Rule,
    estimate: MeanEstimate,
    truth: float = 0.0,
    alpha: float = ALPHA,
    power: float = POWER,
) -> SeedsNeeded:
    """Return how many seeds in total would give a verdict if the truth were a given value.

    The range is from the 90 % interval of the deviation between seeds (chi²). The estimated effect
    is not used: where a verdict is missing it is mostly noise.

    Args:
        rule: the claim's rule.
        estimate: over at least 2 seeds.
        truth: the assumed true value; 0 = no difference.
        alpha: as in `word_chances`.
        power: the desired probability of a verdict.

    Raises:
        ValueError: fewer than 2 seeds.
    """
    from scipy.special import chdtri

    if estimate.seeds < 2:
        raise ValueError("one seed shows no deviation: at least 2 are needed")
    freedom = estimate.seeds - 1
    margin, rows = rule.distance(truth), estimate.row_error
    error = estimate.systematic_error
    without_seed_noise = Spread(0.0, rows, error)
    if rows > margin / 3 or (rows and _power(rule, truth, without_seed_noise, MOST_SEEDS) < power):
        return SeedsNeeded(rows_limit=True)

    def with_deviation_at(level: float) -> int | None:
        deviation = estimate.deviation * math.sqrt(freedom / float(chdtri(freedom, level)))
        return _first_enough(rule, truth, Spread(deviation, rows, error), alpha, power)

    return SeedsNeeded(with_deviation_at(0.05), with_deviation_at(0.95))


def _power(rule: Rule, truth: float, spread: Spread, seeds: int, alpha: float = ALPHA) -> float:
    """Return the probability of the more likely verdict; 1 without noise."""
    if spread.is_none:
        return 1.0
    found = word_chances(rule, truth, spread, seeds, alpha)
    return max(found.holds, found.fails)


def _first_enough(
    rule: Rule, truth: float, spread: Spread, alpha: float, power: float
) -> int | None:
    """Return the smallest number of seeds with this power, by bisection; None = too many."""
    low, high = 2, MOST_SEEDS
    if _power(rule, truth, spread, high, alpha) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        enough = _power(rule, truth, spread, middle, alpha) >= power
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
