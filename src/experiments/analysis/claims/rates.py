"""`rate_ratio` and `rule_excess_loss`: ratios of best rates, and the cost of rules of thumb."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from experiments.analysis import arms
from experiments.analysis.arms import Reason, Tuned
from experiments.analysis.arms.excess_loss import EXPONENTS
from experiments.analysis.claims import sides, units
from experiments.analysis.claims.case import (
    Effect,
    Judged,
    applicable_reasons,
    decided,
    range_verdict,
)
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import RangeRule
from experiments.config.value_checks import at_least, one_of
from experiments.records import Record

RULES = ("ten_times", "hidden_size")


def ratio_problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value of a `rate_ratio`."""
    if claim.low is None or claim.high is None or not 0 < claim.low < claim.high:
        yield f"low={claim.low} and high={claim.high}: give a range of ratios with 0 < low < high"


def excess_loss_problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value of a `rule_excess_loss`."""
    yield from one_of("rule", str(claim.rule), RULES)
    if claim.rule == "hidden_size":
        yield from at_least("hidden", claim.hidden or 0, 1)
        yield from one_of("family", str(claim.family), tuple(EXPONENTS))


def judge_ratio(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the ratio of best learning rates, arm over reference, with the allowed range."""
    candidates = arms.read(records)
    numerator, missing = sides.single_arm(claim, "arm", claim.arm, candidates)
    denominator, more_missing = sides.single_arm(claim, "reference", claim.reference, candidates)
    tuned = [arms.tune(side) for side in (denominator, numerator) if side is not None]
    runs, seeds = sides.runs(tuned), sides.seeds(tuned)
    if numerator is None or denominator is None:
        return Judged(reasons=(*missing, *more_missing), runs=runs, seeds=seeds)
    reference, arm = tuned
    all_records = [run.record for side in tuned for run in side.arm.runs]
    comparison_reasons = [*arms.equal_tuning(tuned), *arms.mixed(all_records)]
    reasons = applicable_reasons(claim, comparison_reasons, [*arm.reasons, *reference.reasons])
    partial = Judged(reasons=reasons, runs=runs, seeds=seeds)
    found = arms.log_rate_ratio(arm.losses(), reference.losses())
    if found is None:
        text = "one of the arms has no optimum within its range of learning rates"
        return replace(partial, reasons=(*reasons, Reason("flat_curve", text)))
    estimate, fits = found
    doubts = [Reason("flat_curve", fit.problem) for fit in fits if fit.problem is not None]
    assert claim.low is not None and claim.high is not None, "load checks it"
    interval = estimate.interval()
    low, high = (None if end is None else 10**end for end in (interval.low, interval.high))
    allowed = f"{claim.low:g} to {claim.high:g}"
    effect = Effect("ratio of best learning rates", 10**interval.estimate, low, high, allowed)
    rule = RangeRule(math.log10(claim.low), math.log10(claim.high))
    partial = replace(partial, effect=effect, reasons=(*reasons, *doubts))
    return decided(claim, partial, estimate, rule)


def judge_excess_loss(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the excess validation loss at a rule's learning rate with the margin."""
    candidates = arms.read(records)
    arm, missing = sides.single_arm(claim, "arm", claim.arm, candidates)
    reference_arm, more_missing = (
        sides.single_arm(claim, "reference", claim.reference, candidates)
        if claim.reference
        else (None, ())
    )
    reference = None if reference_arm is None else arms.tune(reference_arm)
    tuned = None if arm is None else arms.tune(arm)
    selected = [tuned_arm for tuned_arm in (reference, tuned) if tuned_arm is not None]
    runs, seeds = sides.runs(selected), sides.seeds(selected)
    reasons = [*missing, *more_missing, *(r for tuned_arm in selected for r in tuned_arm.reasons)]
    rate = None
    if tuned is not None and tuned.best is not None and not (missing or more_missing):
        rate = _rule_rate(claim, reference)
        if rate is None:
            text = "the reference has no best learning rate to apply the rule to"
            reasons.append(Reason("flat_curve", text))
    if tuned is None or rate is None:
        return Judged(reasons=applicable_reasons(claim, (), reasons), runs=runs, seeds=seeds)
    return _judge_excess(claim, tuned, rate, reasons, Judged(runs=runs, seeds=seeds))


def _judge_excess(
    claim: Claim, tuned: Tuned, rate: float, reasons: list[Reason], partial: Judged
) -> Judged:
    excess = arms.excess_loss(tuned, rate)
    reasons = [*reasons, *excess.reasons]
    reasons += _no_margin(claim)
    allowed = "no margin" if claim.margin is None else f"below {claim.margin:.2%}"
    name = f"excess loss at learning rate {rate:.3g}"
    if 0 < excess.seeds < claim.seeds:
        text = (
            f"only {excess.seeds} of {claim.seeds} seeds were run around the rule's learning rate "
            f"{rate:.3g}"
        )
        reasons.append(Reason("few_seeds", text))
    partial = replace(partial, reasons=applicable_reasons(claim, (), reasons))
    if excess.relative is None:
        return partial
    if excess.nats is None:
        diverged = Effect(name, math.inf, None, None, allowed, units.LOWEST_LOSS)
        return replace(partial, effect=diverged, word="does not hold here")
    lowest_loss = excess.nats.estimate / excess.relative if excess.relative else 1.0
    low, high = (
        None if end is None else end / lowest_loss for end in (excess.nats.low, excess.nats.high)
    )
    effect = Effect(name, excess.relative, low, high, allowed, units.LOWEST_LOSS)
    partial = replace(partial, effect=effect)
    if claim.margin is None or not claim.margin > 0:
        return partial
    if excess.root is not None:  # near the optimum: the root of the excess loss has both signs
        limit = math.sqrt(claim.margin)
        found = decided(claim, partial, excess.root, RangeRule(-limit, limit))
        return replace(found, qualifiers=())  # which side of the optimum is no matter
    return replace(partial, word=range_verdict(low, high, None, claim.margin))


def _no_margin(claim: Claim) -> Iterator[Reason]:
    yield from units.problems(claim)
    if claim.margin is None:
        text = f"no margin was fixed before the outcomes were seen, as a {units.LOWEST_LOSS}"
        yield Reason("no_margin", text)


def _rule_rate(claim: Claim, reference: Tuned | None) -> float | None:
    if claim.rule == "hidden_size":
        is_full = claim.arm.get("lora.method") == "none"
        method: Literal["lora", "full"] = "full" if is_full else "lora"
        return arms.hidden_size_rate(int(claim.hidden or 0), str(claim.family), method)
    return None if reference is None else arms.ten_times_of(reference)
