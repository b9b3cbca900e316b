"""Decide from an interval whether a claim holds here, does not hold here, or is unresolved.

One interval, of level 1 - alpha, decides about a claim in both directions, so that each end is
wrong in at most alpha / 2 of the cases with normal noise. The 90 % interval of the two one-sided
tests (TOST) would resolve more claims of equality, but with outliers or skewed differences it is
wrong in more than 5 %; docs/statistics.md has the simulated rates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from experiments.analysis.statistics.estimates import MeanEstimate
from experiments.analysis.statistics.intervals import ROUNDING, Interval

Word = Literal["holds here", "does not hold here", "unresolved"]
HOLDS: Word = "holds here"
FAILS: Word = "does not hold here"
UNRESOLVED: Word = "unresolved"
ALPHA = 0.05
_SMALLEST_P = 1e-9


@dataclass(frozen=True)
class Decision:
    """The word for a claim, what must be said beside it, and its p-value."""

    word: Word
    qualifier: str = ""
    """A few words such as `below the size to act on`, or why the claim is unresolved."""
    p: float = 1.0
    """The smallest alpha at which this word would still be given; 1 if unresolved."""


class Rule(Protocol):
    """What an interval must satisfy; the ends may also be arrays of equal shape."""

    def holds(self, low: Any, high: Any) -> Any:
        """Return whether the claim holds."""

    def fails(self, low: Any, high: Any) -> Any:
        """Return whether the claim does not hold."""

    def qualifier(self, word: Word, interval: Interval) -> str:
        """Return what must be said beside the word."""

    def distance(self, truth: float) -> float:
        """Return how far a true value is from the nearest value at which the word changes."""

    def path(self, word: Word) -> tuple[float, float, float]:
        """Return a bound, the direction (1 or -1) and the longest way from it into the word."""


@dataclass(frozen=True)
class DifferenceRule:
    """A claim of a difference above 0 whose smallest asserted size is delta.

    It holds if the interval is above 0. It does not hold if the interval is below delta and
    contains 0 or is below it.
    """

    delta: float

    def __post_init__(self) -> None:
        _check_size("delta", self.delta)

    def holds(self, low: Any, high: Any) -> Any:
        """Return whether the interval is above 0."""
        return (low > 0) & (high > 0)

    def fails(self, low: Any, high: Any) -> Any:
        """Return whether the interval is below delta without being above 0."""
        return (low <= 0) & (high < self.delta)

    def qualifier(self, word: Word, interval: Interval) -> str:
        """Return how the size compares with delta, or that the direction is the opposite."""
        low, high = _ends(interval)
        if word == HOLDS and low < self.delta:
            below = high < self.delta
            return "below the size to act on" if below else "size to act on not resolved"
        return "the opposite direction" if high < 0 else ""

    def distance(self, truth: float) -> float:
        """Return the distance to 0 or delta."""
        return self.delta - truth if truth <= 0 else abs(truth)

    def path(self, word: Word) -> tuple[float, float, float]:
        """Return the way up from 0 for `holds`, and down from delta for `does not hold`."""
        return (0.0, 1.0, math.inf) if word == HOLDS else (self.delta, -1.0, math.inf)


@dataclass(frozen=True)
class RangeRule:
    """A claim that a number is in a range; None = unbounded."""

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        bottom, top = self._bounds()
        if not bottom < top or (math.isinf(bottom) and math.isinf(top)):
            raise ValueError(f"low={self.low}, high={self.high}: give low, high or low < high")

    def _bounds(self) -> tuple[float, float]:
        return (
            -math.inf if self.low is None else self.low,
            math.inf if self.high is None else self.high,
        )

    def holds(self, low: Any, high: Any) -> Any:
        """Return whether the interval is inside."""
        bottom, top = self._bounds()
        return (bottom < low) & (high < top)

    def fails(self, low: Any, high: Any) -> Any:
        """Return whether the interval is outside."""
        bottom, top = self._bounds()
        return (high < bottom) | (low > top)

    def qualifier(self, word: Word, interval: Interval) -> str:
        """Return on which side of a range with two ends the interval is."""
        if word != FAILS or self.low is None or self.high is None:
            return ""
        return "above the range" if interval.estimate > self.high else "below the range"

    def distance(self, truth: float) -> float:
        """Return the distance to the nearest end."""
        return min(abs(truth - end) for end in self._bounds())

    def path(self, word: Word) -> tuple[float, float, float]:
        """Return the way from an end inwards for `holds`, and outwards for `does not hold`."""
        bottom, top = self._bounds()
        upper = self.high is not None
        inwards = -1.0 if upper else 1.0
        length = (top - bottom) / 2 if word == HOLDS else math.inf
        return (top if upper else bottom), inwards if word == HOLDS else -inwards, length


@dataclass(frozen=True)
class EqualityRule(RangeRule):
    """A claim that a difference is within ± margin; the size is named if 0 is excluded."""

    def __init__(self, margin: float) -> None:
        _check_size("margin", margin)
        super().__init__(-margin, margin)

    def qualifier(self, word: Word, interval: Interval) -> str:
        """Return the size of a difference whose interval excludes 0."""
        low, high = _ends(interval)
        if low <= 0 <= high:
            return ""
        if word == HOLDS:
            return f"differs by {interval.estimate:+.3g}, within the margin"
        return f"differs by {interval.estimate:+.3g}" if word == UNRESOLVED else ""


def decide_by_interval(interval: Interval, rule: Rule) -> Decision:
    """Return the word that an interval gives, without a p-value.

    Args:
        interval: of the difference in the direction of the claim, or of the number in the range.
        rule: the claim's rule, with a delta, margin or range in the unit of the interval.
    """
    if interval.low is None or interval.high is None:
        return Decision(UNRESOLVED, f"one {interval.over.split()[0].removesuffix('s')}")
    if interval.high - interval.low < ROUNDING * max(1.0, abs(interval.estimate)):
        return Decision(UNRESOLVED, "all seeds give the same number")
    word = UNRESOLVED
    if rule.holds(interval.low, interval.high):
        word = HOLDS
    elif rule.fails(interval.low, interval.high):
        word = FAILS
    return Decision(word, rule.qualifier(word, interval))


def decide(estimate: MeanEstimate, rule: Rule, alpha: float = ALPHA) -> Decision:
    """Return the word that the interval of level 1 - alpha gives, with its p-value.

    >>> from experiments.analysis.statistics.estimates import seed_estimate
    >>> decide(seed_estimate([0.02, 0.03, 0.025, 0.018, 0.027]), DifferenceRule(0.05)).qualifier
    'below the size to act on'

    The p-value of a verdict that needs both ends of a range is the larger of the two, as both must
    be excluded at the same level.
    """
    found = decide_by_interval(estimate.interval(1 - alpha), rule)
    if found.word == UNRESOLVED:
        return found

    def same(level: float) -> bool:
        return decide_by_interval(estimate.interval(1 - level), rule).word == found.word

    low, high = math.log(_SMALLEST_P), math.log(alpha)
    if same(_SMALLEST_P):
        return replace(found, p=_SMALLEST_P)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if same(math.exp(middle)) else (middle, high)
    return replace(found, p=math.exp(high))


def reaches_full(
    contrast: MeanEstimate, improvement: MeanEstimate, alpha: float = ALPHA
) -> Decision:
    """Decide whether an arm reaches the loss of full fine-tuning with at most 1.25 times the data.

    Args:
        contrast: L_arm(T) - L_full(0.8 T), paired by seed. Below 0, the arm needs fewer steps than
            1 / 0.8 of full fine-tuning's.
        improvement: L_full(0.8 T) - L_full(T). If it is not above 0, nothing can be concluded: a
            loss that no longer falls is reached by any arm.
        alpha: level of the test.
    """
    falling = decide(improvement, RangeRule(0.0, None), alpha)
    found = decide(contrast, RangeRule(None, 0.0), alpha)
    if falling.word != HOLDS:
        return Decision(UNRESOLVED, "full fine-tuning does not improve from 0.8 T to T")
    return replace(found, p=max(found.p, falling.p))


def all_hold(estimates: Sequence[MeanEstimate], rule: Rule, alpha: float = ALPHA) -> Decision:
    """Decide about a claim that must hold for each of several arms.

    It holds if it holds for each, and takes the largest p-value. It does not hold if it does not
    hold for one of the k arms at level alpha / k.
    """
    decisions = [decide(estimate, rule, alpha) for estimate in estimates]
    return combine_all(decisions, alpha)


def combine_all(decisions: Sequence[Decision], alpha: float = ALPHA) -> Decision:
    """Combine the decisions about parts of a claim that must all hold, as `all_hold`."""
    return _combine(decisions, one=FAILS, every=HOLDS, alpha=alpha)


def combine_any(decisions: Sequence[Decision], alpha: float = ALPHA) -> Decision:
    """Combine the decisions about parts of a claim of which one must hold.

    It holds if one of the k parts holds at level alpha / k. It does not hold if no part holds, and
    takes the largest p-value.
    """
    return _combine(decisions, one=HOLDS, every=FAILS, alpha=alpha)


def _combine(decisions: Sequence[Decision], one: Word, every: Word, alpha: float) -> Decision:
    """Return the word that one of k parts decides at level alpha / k, or that all of them have."""
    if not decisions:
        raise ValueError("no decisions to combine: a claim needs at least one")
    deciding = [found for found in decisions if found.word == one]
    if deciding:
        clearest = min(deciding, key=lambda found: found.p)
        p = min(1.0, clearest.p * len(decisions))
        return replace(clearest, p=p) if p <= alpha else Decision(UNRESOLVED)
    if all(found.word == every for found in decisions):
        qualifiers = dict.fromkeys(found.qualifier for found in decisions if found.qualifier)
        return Decision(every, "; ".join(qualifiers), max(found.p for found in decisions))
    unresolved = [found for found in decisions if found.word == UNRESOLVED]
    return Decision(UNRESOLVED, unresolved[0].qualifier)


def _ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None, "two seeds give an interval"
    return interval.low, interval.high


def _check_size(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} {value}: it must be above 0, in the unit of the score")
