"""Keep the rate of false verdicts over several claims and several looks at the seeds.

Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6
(1979). Looks spend alpha in advance by Bonferroni's inequality: .005 at 3 seeds and .045 at 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from experiments.analysis.statistics.decisions import (
    ALPHA,
    UNRESOLVED,
    Decision,
    Rule,
    decide,
)
from experiments.analysis.statistics.estimates import MeanEstimate


@dataclass(frozen=True)
class Look:
    """A number of seeds at which a verdict may be given, and its share of alpha."""

    seeds: int
    alpha: float


LOOKS = (Look(3, 0.005), Look(5, 0.045))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that the chance of any wrong rejection stays below alpha.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Args:
        p_values: shape (n,), each from 0 to 1; n may be 0.
    """
    # Same as statsmodels' multipletests(method="holm"), which runs the garbage collector at each
    # call and so takes 0.2 s.
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def family_decisions(decisions: Sequence[Decision], alpha: float = ALPHA) -> list[Decision]:
    """Return the decisions of a primary family with p-values adjusted by Holm.

    Those whose adjusted p-value is not below alpha become unresolved. The family is frozen before
    the runs; all other claims are exploratory and stay unadjusted.
    """
    adjusted = holm([found.p for found in decisions])
    return [
        replace(found, p=p)
        if found.word == UNRESOLVED or p <= alpha
        else Decision(UNRESOLVED, f"p is {p:.2g} after Holm's adjustment over the family", p)
        for found, p in zip(decisions, adjusted, strict=True)
    ]


def expected_false_verdicts(count: int, alpha: float = ALPHA) -> float:
    """Return how many of the verdicts on exploratory claims are expected to be false, at most.

    >>> expected_false_verdicts(20)
    1.0

    Args:
        count: number of exploratory claims that were tested, whatever came of them.
        alpha: level of each.
    """
    return count * alpha


def decide_at_looks(
    estimates: Sequence[MeanEstimate],
    rule: Rule,
    looks: Sequence[Look] = LOOKS,
) -> tuple[Decision, Look]:
    """Return the first verdict over the looks that were taken, and the look that gave it.

    The p-value is scaled to a level of alpha for all looks together, so that Holm's adjustment and
    a comparison with alpha apply to it as to any other.

    Args:
        estimates: one per look taken, in order, over the seeds of that look.
        rule: the claim's rule.
        looks: the looks of the frozen design.

    Raises:
        ValueError: there is no estimate, more than looks, or one over other seeds than its look's.
    """
    if not 0 < len(estimates) <= len(looks):
        raise ValueError(f"{len(estimates)} estimates for {len(looks)} looks: one per look taken")
    decisions = []
    for estimate, look in zip(estimates, looks, strict=False):
        if estimate.seeds != look.seeds:
            raise ValueError(f"{estimate.seeds} seeds at the look of {look.seeds} seeds")
        decisions.append(decide(estimate, rule, look.alpha))
        if decisions[-1].word != UNRESOLVED:
            break
    return first_decision(decisions, looks)


def first_decision(
    decisions: Sequence[Decision], looks: Sequence[Look] = LOOKS
) -> tuple[Decision, Look]:
    """Return the first verdict over the looks that were taken, as `decide_at_looks`.

    Args:
        decisions: one per look taken, in order, each at its look's alpha; at least one.
        looks: the looks of the frozen design.
    """
    total = sum(look.alpha for look in looks)
    for found, look in zip(decisions, looks, strict=False):
        if found.word != UNRESOLVED:
            return replace(found, p=min(1.0, found.p * total / look.alpha)), look
    return decisions[-1], looks[len(decisions) - 1]
