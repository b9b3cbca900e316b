"""The result types that all kinds of claims share, and the test of a number against a range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiments.analysis import statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import Decision, MeanEstimate, Rule, SeedsNeeded
from experiments.records import Record

Verdict = Literal["holds here", "does not hold here", "unresolved", "not tested"]
ALPHA = 0.05
SEEDS_ONLY = "over seeds only: the test rows are not resampled"


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
    unit: str = "ratio"
    reference: float | None = None
    """Mean score of the reference, in the unit of the estimate; None if there is none."""
    rows: int | None = None
    """Number of test rows that the interval resamples; None = it is over seeds only."""

    @property
    def relative(self) -> float | None:
        """The estimate as a share of the reference's score."""
        return self.estimate / self.reference if self.reference else None


@dataclass(frozen=True)
class Judged:
    """The result for one claim, before Holm's adjustment over the family and before the gates."""

    effect: Effect | None = None
    word: Verdict = "unresolved"
    reasons: tuple[Reason, ...] = ()
    runs: tuple[Record, ...] = ()
    """The runs that the verdict is based on; the gates check them."""
    seeds: int | None = 0
    """Number of seeds; None if the estimate does not come from seeds."""
    needed: str | None = None
    """A sentence on how many seeds would probably decide."""
    p: float | None = None
    """p-value of the verdict that was taken; None if it rests on no interval."""
    qualifiers: tuple[str, ...] = ()
    """What limits the word, such as a size below the one to act on."""
    classes: tuple[str, ...] = ()
    """The difference of a loss by token class, a sentence each."""
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
        return "holds here"
    if (low is not None and low > maximum) or (high is not None and high < minimum):
        return "does not hold here"
    return "unresolved"


def decided(claim: Claim, partial: Judged, estimate: MeanEstimate, rule: Rule) -> Judged:
    """Return a result with the word that an estimate and a rule give, and what would decide."""
    found = statistics.decide(estimate, rule)
    needed = None
    if found.word == "unresolved" and can_be_narrowed(estimate):
        needed = needed_text(statistics.seeds_needed(rule, estimate), "there were no effect")
    return with_decision(claim, partial, estimate, found, needed)


def with_decision(
    claim: Claim, partial: Judged, estimate: MeanEstimate, found: Decision, needed: str | None
) -> Judged:
    """Return a result with the word of a decision, what limits it, and what would decide."""
    qualifiers = (*partial.qualifiers, *([found.qualifier] if found.qualifier else ()))
    if estimate.rows is None and claim.kind != "spectra":
        qualifiers += (SEEDS_ONLY,)
    p = None if found.word == "unresolved" else found.p
    return replace(partial, word=found.word, qualifiers=qualifiers, needed=needed, p=p)


def can_be_narrowed(estimate: MeanEstimate) -> bool:
    """Return whether the seeds differ, so that the number that would decide can be estimated."""
    return estimate.seeds > 1 and estimate.seed_error > 0


def needed_text(needed: SeedsNeeded, assumption: str) -> str:
    """Return how many seeds would decide under an assumption, as a sentence."""
    if needed.rows_limit:
        return "no number of seeds would decide: the test rows are too few"
    return f"if {assumption}, a verdict would take {needed} in total"


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
    ignored = may_differ(claim)
    return tuple(
        dict.fromkeys([*arm_reasons, *(r for r in comparison_reasons if r.code not in ignored)])
    )


def may_differ(claim: Claim) -> set[str]:
    """Return the codes in which a claim's arms may differ.

    Seeds may differ for a stated reason only, or where a look is ahead for one of the arms.
    """
    seeds = {"unequal_seeds"} if claim.seeds_differ or claim.looks else set()
    return {*claim.may_differ} | seeds
