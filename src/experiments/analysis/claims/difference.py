"""`difference`: arm minus reference in a test score, each at its own best learning rate.

A claim of a tie needs a margin that was fixed before the runs, in the unit of the score. A claim
that the arm is better or worse holds if the interval excludes 0 on that side; it does not hold if
the interval is below the smallest effect that the claim asserts (`delta`). Without a delta, only
the opposite effect refutes it.
"""

import math
from collections.abc import Iterator, Sequence

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Contrast, Reason, Tuned
from experiments.analysis.claims import class_gaps, looks, sides, units
from experiments.analysis.claims.case import Effect, Judged, decided, may_differ
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import MeanEstimate, Rule
from experiments.config.value_checks import one_of
from experiments.evaluation import metrics
from experiments.records import Record

EXPECTATIONS = ("tied", "better", "worse")


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from one_of("expects", str(claim.expects), EXPECTATIONS)
    if metrics.direction(claim.score) is None:
        yield f"score={claim.score}: no metric declares its direction"


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the difference, paired by seed, with the expectation of the claim."""
    candidates = arms.read(records)
    arm, missing = sides.single_arm(claim, "arm", claim.arm, candidates)
    reference, more_missing = sides.single_arm(claim, "reference", claim.reference, candidates)
    tuned: list[Tuned] = [arms.tune(side) for side in (reference, arm) if side is not None]
    partial = Judged(
        reasons=(*missing, *more_missing), runs=sides.runs(tuned), seeds=sides.seeds(tuned)
    )
    if arm is None or reference is None:
        return partial
    margin = claim.margin if claim.expects == "tied" else None
    floor, allowed = arms.repeats(records, claim.score), may_differ(claim)
    contrasts = [
        arms.contrast(a, b, margin, claim.score, allowed, floor)
        for a, b in looks.tuned_pairs(claim, reference, arm)
    ]
    rule, sign = rule_of(claim)
    look = None if rule is None else looks.first_verdict(claim, contrasts, rule, sign)
    contrast = contrasts[-1] if look is None else contrasts[look.index]
    reasons = (*contrast.reasons, *_no_margin(claim))
    if contrast.estimate is None:
        return Judged(reasons=reasons, runs=partial.runs, seeds=partial.seeds)
    effect = _effect(claim, contrast, contrast.estimate)
    whole = Judged(effect, reasons=reasons, runs=partial.runs, seeds=effect_seeds(contrast))
    if rule is not None:
        estimate = looks.signed(contrast.estimate, sign)
        whole = decided(claim, whole, estimate, rule)
        whole = whole if look is None else looks.with_look(claim, whole, look)
    pair = class_gaps.Weighted(1.0, contrast.reference, contrast.arm)
    return class_gaps.added(claim, whole, [pair], rule, sign, looks.alpha(look))


def effect_seeds(contrast: Contrast) -> int:
    """Return the number of seeds that both arms have at their best learning rates."""
    return 0 if contrast.estimate is None else contrast.estimate.seeds


def rule_of(claim: Claim) -> tuple[Rule | None, float]:
    """Return what an interval must satisfy, and the sign of the asserted effect.

    The rule is None for a claim of a tie without a usable margin.
    """
    unusable = any(True for _ in units.problems(claim))
    if claim.expects == "tied":
        usable = claim.margin is not None and not unusable
        return (statistics.EqualityRule(claim.margin or 0) if usable else None), 1.0
    higher = (claim.expects == "better") == (metrics.direction(claim.score) == "maximize")
    sign = 1.0 if higher else -1.0
    if claim.delta is not None and not unusable:
        return statistics.DifferenceRule(claim.delta), sign
    return statistics.RangeRule(0.0, None), sign


def _no_margin(claim: Claim) -> Iterator[Reason]:
    yield from units.problems(claim)
    if claim.expects == "tied" and claim.margin is None:
        text = (
            "no margin was fixed before the outcomes were seen: give margin, margin_source and "
            f"unit: {units.of(claim)}, and new runs"
        )
        yield Reason("no_margin", text)


def _effect(claim: Claim, contrast: Contrast, estimate: MeanEstimate) -> Effect:
    interval, scores = estimate.interval(), contrast.reference.final(claim.score).values()
    return Effect(
        f"{claim.score}, arm - reference",
        interval.estimate,
        interval.low,
        interval.high,
        _allowed(claim),
        units.of_score(claim.score),
        math.fsum(scores) / len(scores) if scores else None,
        estimate.rows,
    )


def _allowed(claim: Claim) -> str:
    if claim.expects == "tied":
        margin = "no margin" if claim.margin is None else f"within ±{claim.margin:g}"
        return f"tied ({margin})"
    delta = "" if claim.delta is None else f" (by {claim.delta:g} or more)"
    return f"{claim.expects}{delta}"
