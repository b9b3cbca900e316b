"""What every kind of claim gives back, and how a number is held against what the claim allows."""

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
    """The number that a claim is about."""

    name: str
    estimate: float
    low: float | None
    """95 % interval; None = open, and both None where the kind has no interval."""
    high: float | None
    allowed: str
    """What it is held against, in words."""


@dataclass(frozen=True)
class Judged:
    """What the records say of a claim by itself, before the family and the gates are asked."""

    effect: Effect | None = None
    word: Word = "undecided"
    reasons: tuple[Reason, ...] = ()
    runs: tuple[Record, ...] = ()
    """The runs that the verdict stands on; the gates look at them."""
    seeds: int | None = 0
    """None where the number comes from no seeds."""
    needed: int | None = None
    """Seeds in all that would probably decide."""
    p: float | None = None
    """Two-sided p of a difference; adjusted over the family."""
    rests_on_p: bool = False
    """Whether the word falls where the adjusted p is not small."""
    scope: str = ""
    """For numbers that come from no runs."""


def inside(low: float | None, high: float | None, first: float | None, last: float | None) -> Word:
    """Hold an interval against an allowed range: inside, outside, or across an end.

    Args:
        low: lower end of the interval; None = open.
        high: its upper end.
        first: lowest number allowed; None = any.
        last: highest number allowed.
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
    """One number a seed, held against a range."""

    interval: Interval
    word: Word
    p: float | None
    """Of the one end that is given; None where both are: a range is a tie, tested on its own."""
    needed: int | None
    reasons: tuple[Reason, ...]


def held(values: Sequence[float], first: float | None, last: float | None) -> Held:
    """Hold the mean of one number a seed against a range by its Student t interval.

    Equal numbers in all seeds have no spread, from which nothing follows.
    """
    found = statistics.mean_interval(values)
    ends = [end for end in (first, last) if end is not None]
    if found.low is None or found.high is None:
        few = Reason("one_seed", "one seed gives no interval")
        return Held(found, "undecided", None, None, (few,))
    if found.high - found.low < statistics.ROUNDING * max(1.0, abs(found.estimate)):
        same = Reason("same_numbers", "all seeds give the same number, from which nothing follows")
        return Held(found, "undecided", None, None, (same,))
    p = None
    if len(ends) == 1:
        from scipy.stats import ttest_1samp

        p = float(ttest_1samp(list(values), ends[0]).pvalue)
    half = (found.high - found.low) / 2
    needed = seeds_for(min(abs(found.estimate - end) for end in ends), half, found.n)
    return Held(found, inside(found.low, found.high, first, last), p, needed, ())


def seeds_for(distance: float, half: float, n: int) -> int | None:
    """Return the seeds at which an interval would be clear of an end; None = too many.

    The width of an interval falls with the root of the number of seeds.

    Args:
        distance: from the estimate to the nearest end.
        half: half the width of the interval.
        n: seeds that it has.
    """
    needed = n * (half / distance) ** 2 if distance > 0 else math.inf
    return None if needed > statistics.MOST_SEEDS else max(n + 1, math.ceil(needed))


def allowed_range(first: float | None, last: float | None) -> str:
    """Return a range in words."""
    if first is None:
        return f"below {last:.3g}"
    return f"above {first:.3g}" if last is None else f"{first:.3g} to {last:.3g}"


def counted(
    claim: Claim, between: Sequence[Reason], own: Sequence[Reason] = ()
) -> tuple[Reason, ...]:
    """Return the reasons that count, each once.

    Args:
        claim: its `may_differ` permits arms to differ from each other, never within themselves.
        between: what speaks against comparing the arms.
        own: what speaks against an arm alone.
    """
    return tuple(dict.fromkeys([*own, *(r for r in between if r.code not in claim.may_differ)]))
