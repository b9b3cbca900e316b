"""The result types that all kinds of claims share, and the test of a number against a range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.analysis import statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import Interval
from experiments.records import Record

Word = Literal["supported", "contradicted", "undecided", "not tested"]
ALPHA = 0.05


@dataclass(frozen=True)
class Effect:
    """The estimated quantity that a claim is about."""

    name: str
    estimate: float
    low: float | None
    """95 % interval; None = open end, and both None if the kind has no interval."""
    high: float | None
    allowed: str
    """The range or verdict that the estimate is compared with, in words."""


@dataclass(frozen=True)
class Judged:
    """The result for one claim, before Holm's adjustment over the family and before the gates."""

    effect: Effect | None = None
    word: Word = "undecided"
    reasons: tuple[Reason, ...] = ()
    runs: tuple[Record, ...] = ()
    """The runs that the verdict is based on; the gates check them."""
    seeds: int | None = 0
    """Number of seeds; None if the estimate does not come from seeds."""
    needed: int | None = None
    """Total number of seeds that would probably decide."""
    p: float | None = None
    """Two-sided p-value of a difference; adjusted over the family later."""
    rests_on_p: bool = False
    """Whether the verdict becomes undecided if the adjusted p-value is not small."""
    scope: str = ""
    """Scope of estimates that do not come from runs."""


def inside(low: float | None, high: float | None, first: float | None, last: float | None) -> Word:
    """Compare an interval with an allowed range: inside, outside, or across an end.

    Args:
        low: lower end of the interval; None = open.
        high: upper end of the interval; None = open.
        first: lowest allowed number; None = unbounded.
        last: highest allowed number; None = unbounded.
    """
    first, last = -math.inf if first is None else first, math.inf if last is None else last
    within_low = first == -math.inf or (low is not None and first <= low)
    within_high = last == math.inf or (high is not None and high <= last)
    if within_low and within_high and not (low is None and high is None):
        return "supported"
    if (low is not None and low > last) or (high is not None and high < first):
        return "contradicted"
    return "undecided"


@dataclass(frozen=True)
class Held:
    """The mean of one number per seed, compared with a range."""

    interval: Interval
    word: Word
    p: float | None
    """For a range with one end; None with two ends, for which the interval decides."""
    needed: int | None
    reasons: tuple[Reason, ...]


def held(values: Sequence[float], first: float | None, last: float | None) -> Held:
    """Compare the mean of one number per seed with a range, by its Student t interval.

    If all seeds have equal numbers there is no spread, so nothing can be concluded.
    """
    found = statistics.mean_interval(values)
    ends = [end for end in (first, last) if end is not None]
    if found.low is None or found.high is None:
        few = Reason("one_seed", "one seed gives no interval")
        return Held(found, "undecided", None, None, (few,))
    if found.high - found.low < statistics.ROUNDING * max(1.0, abs(found.estimate)):
        same = Reason("same_numbers", "all seeds give the same number, so there is no interval")
        return Held(found, "undecided", None, None, (same,))
    p = None
    if len(ends) == 1:
        from scipy.stats import ttest_1samp

        p = float(ttest_1samp(list(values), ends[0]).pvalue)
    half = (found.high - found.low) / 2
    needed = seeds_for(min(abs(found.estimate - end) for end in ends), half, found.n)
    return Held(found, inside(found.low, found.high, first, last), p, needed, ())


def seeds_for(distance: float, half: float, n: int) -> int | None:
    """Return the number of seeds at which an interval would exclude an end; None = too many.

    The width of an interval decreases with the square root of the number of seeds.

    Args:
        distance: from the estimate to the nearest end.
        half: half the width of the interval.
        n: number of seeds behind the interval.
    """
    needed = n * (half / distance) ** 2 if distance > 0 else math.inf
    return None if needed > statistics.MOST_SEEDS else max(n + 1, math.ceil(needed))


def allowed_range(first: float | None, last: float | None) -> str:
    """Describe a range in words."""
    if first is None:
        return f"below {last:.3g}"
    return f"above {first:.3g}" if last is None else f"{first:.3g} to {last:.3g}"


def counted(
    claim: Claim, between: Sequence[Reason], own: Sequence[Reason] = ()
) -> tuple[Reason, ...]:
    """Return the reasons that apply, without duplicates.

    Args:
        claim: its `may_differ` permits differences between arms, never within one arm.
        between: reasons against comparing the arms with each other.
        own: reasons against single arms.
    """
    return tuple(dict.fromkeys([*own, *(r for r in between if r.code not in claim.may_differ)]))
