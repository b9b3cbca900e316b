"""Compare paired scores against a margin: better, worse, tied or undecided.

A difference test that fails is no evidence of equality, so ties have a test of their own.
An arm is *different* if the interval of the difference excludes 0 and the estimate is beyond the
margin. It is *tied* if two one-sided tests reject both ends of the margin, which is equivalent to
a 90 % interval inside the margin. Otherwise the comparison is undecided.

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
from experiments.analysis.statistics.multiplicity import holm

Finding = Literal["better", "worse", "tied", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Comparison of an arm with a reference, paired by seed."""

    difference: Interval
    """Arm minus reference, with an interval of level 1 - alpha (95 % by default)."""
    equivalence: Interval
    """The same difference with an interval of level 1 - 2 alpha; tied if inside the margin."""
    margin: float
    """The largest difference that is considered negligible, in the unit of the score."""
    p_difference: float
    """Two-sided p-value of the hypothesis of no difference; 1 if the seeds do not allow a test."""
    p_equivalence: float
    """p-value of the two one-sided tests, for the hypothesis of a difference of at least margin."""
    direction: Direction
    deviation: float
    """Standard deviation of the paired differences; 0 for a single pair."""
    alpha: float = 0.05

    @property
    def finding(self) -> Finding:
        """The conclusion that the tests support for the arm."""
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
    """Compare two arms over the seeds that both have.

    If all seeds differ by exactly the same amount, nothing is concluded and both p-values are 1, as
    in `verdict_words`.

    >>> compare([1.0, 1.2, 1.1], [1.01, 1.19, 1.1], margin=0.1, direction="minimize").finding
    'tied'

    Args:
        reference: shape (n,), one score per seed.
        arm: shape (n,), for the same seeds in the same order.
        margin: above 0, in the unit of the score.
        direction: whether a higher or a lower score is better.
        alpha: accepted rate of wrong findings, for differences and for ties separately.

    Raises:
        ValueError: the margin is not above 0, or as `paired_difference`.
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


def in_family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons of one table with the p-values of the differences adjusted by Holm.

    The more arms there are, the more likely one of them differs by chance. The p-value of a tie is
    not adjusted: an effect at the margin is called tied in at most alpha of the cases, whatever the
    other arms of the table. If it were adjusted as well, equal arms in a mixed table would be
    called tied in 92 instead of 99 out of 100 cases, at 5 seeds and a margin of 2.5 deviations
    (simulated with three arms). The intervals remain those of each single comparison.
    """
    adjusted = holm([comparison.p_difference for comparison in comparisons])
    return [
        dataclasses.replace(comparison, p_difference=p)
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]
