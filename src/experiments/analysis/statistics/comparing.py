"""Paired scores and a margin in, a finding out: better, worse, tied or undecided.

A failed test of a difference is no proof that there is none, so a tie is tested for on its own.
An arm is *different* where the interval of the difference leaves out 0 and the estimate is beyond
the margin; it is *tied* where two one-sided tests reject both ends of the margin, which is the
same as a 90 % interval inside it; else nothing is decided.

Sources: D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power
approach for assessing the equivalence of average bioavailability", J. Pharmacokin. Biopharm. 15
(1987), by `statsmodels.stats.weightstats.DescrStatsW.ttost_mean`; S. Holm, "A simple sequentially
rejective multiple test procedure", Scand. J. Statist. 6 (1979).
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.analysis.statistics.intervals import (
    ROUNDING,
    Direction,
    Interval,
    paired_difference,
)

Finding = Literal["better", "worse", "tied", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """An arm against a reference, paired by seed."""

    difference: Interval
    """Arm minus reference with the interval of level 1 - alpha, 95 % by default."""
    equivalence: Interval
    """The same with the interval of level 1 - 2 alpha: inside the margin means tied."""
    margin: float
    """The largest difference that does not matter, in the score's unit."""
    p_difference: float
    """Two-sided p that there is no difference; 1 where the seeds cannot say."""
    p_equivalence: float
    """p of the two one-sided tests that the difference is at least the margin."""
    direction: Direction
    deviation: float
    """Standard deviation of the paired differences; 0 for a single pair."""
    alpha: float = 0.05

    @property
    def finding(self) -> Finding:
        """What the numbers allow to say of the arm."""
        if self.p_equivalence < self.alpha:
            return "tied"
        if self.p_difference >= self.alpha or abs(self.difference.estimate) <= self.margin:
            return "undecided"
        higher = self.difference.estimate > 0
        return "better" if higher == (self.direction == "maximize") else "worse"


def compare(
    reference: Sequence[float],
    arm: Sequence[float],
    margin: float,
    direction: Direction,
    alpha: float = 0.05,
) -> Comparison:
    """Compare two arms by the seeds that both have.

    Seeds that differ by one and the same amount prove nothing, as in `verdict_words`: both p are 1.

    >>> compare([1.0, 1.2, 1.1], [1.01, 1.19, 1.1], margin=0.1, direction="minimize").finding
    'tied'

    Args:
        reference: shape (n,), one score per seed.
        arm: shape (n,), of the same seeds in the same order.
        margin: above 0, in the score's unit.
        direction: which way the score is better.
        alpha: the share of wrong findings that is accepted, for differences and for ties each.

    Raises:
        ValueError: a margin that is not above 0, or as `paired_difference`.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin {margin}: it must be above 0, in the unit of the score")
    difference = paired_difference(reference, arm, confidence=1 - alpha)
    equivalence = paired_difference(reference, arm, confidence=1 - 2 * alpha)
    p_difference, p_equivalence = 1.0, 1.0
    gaps = [y - x for x, y in zip(reference, arm, strict=True)]
    if len(gaps) > 1 and max(gaps) - min(gaps) >= ROUNDING:
        from scipy.stats import ttest_1samp
        from statsmodels.stats.weightstats import DescrStatsW

        p_difference = float(ttest_1samp(gaps, 0.0).pvalue)
        p_equivalence = float(DescrStatsW(gaps).ttost_mean(-margin, margin)[0])
    deviation = statistics.stdev(gaps) if len(gaps) > 1 else 0.0
    return Comparison(
        difference=difference,
        equivalence=equivalence,
        margin=margin,
        p_difference=p_difference,
        p_equivalence=p_equivalence,
        direction=direction,
        deviation=deviation,
        alpha=alpha,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted so that one wrong rejection in the family stays below alpha.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Args:
        p_values: shape (n,), each from 0 to 1; n may be 0.
    """
    # As statsmodels' multipletests(method="holm"), which collects garbage at each call: 0.2 s.
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def in_family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons of one table, their p values of a difference adjusted by Holm.

    The more arms, the likelier one of them differs by luck. The level of a tie stays that of the
    arm alone: an effect at the margin is called tied in at most alpha of the cases, whatever else
    stands in the table. Adjusted as well, equal arms of a mixed table would be called tied at 5
    seeds and a margin of 2.5 deviations in 92 instead of 99 of a hundred cases (simulated, three
    arms). Intervals stay those of each comparison alone.
    """
    adjusted = holm([one.p_difference for one in comparisons])
    return [
        dataclasses.replace(one, p_difference=p)
        for one, p in zip(comparisons, adjusted, strict=True)
    ]
