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

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
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
    word: Verdict = "undecided"
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


def range_verdict(
    low: float | None, high: float | None, minimum: float | None, maximum: float | None
) -> Verdict:
    """Compare an interval with an allowed range: inside, outside, or across an end.

    Args:
        low: lower end of the interval; None = open.
        high: upper end of the interval; None = open.
        minimum: lowest allowed number; None = unbounded.
        maximum: highest allowed number; None = unbounded.
    """
    minimum, maximum = (
        -math.inf if minimum is None else minimum,
        math.inf if maximum is None else maximum,
    )
    within_low = minimum == -math.inf or (low is not None and minimum <= low)
    within_high = maximum == math.inf or (high is not None and high <= maximum)
    if within_low and within_high and not (low is None and high is None):
        return "supported"
    if (low is not None and low > maximum) or (high is not None and high < minimum):
        return "contradicted"
    return "undecided"


@dataclass(frozen=True)
class RangeTest:
    """The mean of one number per seed, compared with a range."""

    interval: Interval
    word: Verdict
    p: float | None
    """For a range with one end; None with two ends, for which the interval decides."""
    needed: int | None
    reasons: tuple[Reason, ...]


def compare_with_range(
    values: Sequence[float], minimum: float | None, maximum: float | None
) -> RangeTest:
    """Compare the mean of one number per seed with a range, by its Student t interval.

    If all seeds have equal numbers there is no spread, so nothing can be concluded.
    """
    interval = statistics.mean_interval(values)
    ends = [end for end in (minimum, maximum) if end is not None]
    if interval.low is None or interval.high is None:
        one_seed = Reason("one_seed", "one seed gives no interval")
        return RangeTest(interval, "undecided", None, None, (one_seed,))
    if interval.high - interval.low < statistics.ROUNDING * max(1.0, abs(interval.estimate)):
        no_spread = Reason(
            "same_numbers", "all seeds give the same number, so there is no interval"
        )
        return RangeTest(interval, "undecided", None, None, (no_spread,))
    p = None
    if len(ends) == 1:
        from scipy.stats import ttest_1samp

        p = float(ttest_1samp(list(values), ends[0]).pvalue)
    half_width = (interval.high - interval.low) / 2
    needed = seeds_for(min(abs(interval.estimate - end) for end in ends), half_width, interval.n)
    return RangeTest(
        interval, range_verdict(interval.low, interval.high, minimum, maximum), p, needed, ()
    )


def seeds_for(distance: float, half_width: float, n: int) -> int | None:
    """Return the number of seeds at which an interval would exclude an end; None = too many.

    The width of an interval decreases with the square root of the number of seeds.

    Args:
        distance: from the estimate to the nearest end.
        half_width: half the width of the interval.
        n: number of seeds behind the interval.
    """
    needed = n * (half_width / distance) ** 2 if distance > 0 else math.inf
    return None if needed > statistics.MOST_SEEDS else max(n + 1, math.ceil(needed))


def allowed_range(minimum: float | None, maximum: float | None) -> str:
    """Describe a range in words."""
    if minimum is None:
        return f"below {maximum:.3g}"
    return f"above {minimum:.3g}" if maximum is None else f"{minimum:.3g} to {maximum:.3g}"


def applicable_reasons(
    claim: Claim, comparison_reasons: Sequence[Reason], arm_reasons: Sequence[Reason] = ()
) -> tuple[Reason, ...]:
    """Return the reasons that apply, without duplicates.

    Args:
        claim: its `may_differ` permits differences between arms, never within one arm.
        comparison_reasons: reasons against comparing the arms with each other.
        arm_reasons: reasons against single arms.
    """
    return tuple(
        dict.fromkeys(
            [*arm_reasons, *(r for r in comparison_reasons if r.code not in claim.may_differ)]
        )
    )
