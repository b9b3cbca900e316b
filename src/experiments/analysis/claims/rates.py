"""`rate_ratio` and `rule_regret`: ratios of best learning rates, and the cost of rules of thumb."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from experiments.analysis import arms
from experiments.analysis.arms import Reason, Tuned
from experiments.analysis.arms.regret import EXPONENTS
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import Effect, Judged, counted, inside, seeds_for
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.difference import share_problems
from experiments.config.value_checks import at_least, one_of
from experiments.records import Record

RULES = ("ten_times", "hidden_size")


def ratio_problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value of a `rate_ratio`."""
    if claim.low is None or claim.high is None or not 0 < claim.low < claim.high:
        yield f"low={claim.low} and high={claim.high}: give a range of ratios with 0 < low < high"


def regret_problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value of a `rule_regret`."""
    yield from one_of("rule", str(claim.rule), RULES)
    yield from share_problems(claim, "the lowest loss")
    if claim.rule == "hidden_size":
        yield from at_least("hidden", claim.hidden or 0, 1)
        yield from one_of("family", str(claim.family), tuple(EXPONENTS))


def judge_ratio(claim: Claim, found: Sequence[Record]) -> Judged:
    """Compare the ratio of best learning rates, arm over reference, with the allowed range."""
    read = arms.read(found)
    top, lacking = sides.one(claim, "arm", claim.arm, read)
    bottom, more = sides.one(claim, "reference", claim.reference, read)
    tuned = [arms.tune(side) for side in (bottom, top) if side is not None]
    runs, seeds = sides.runs(tuned), sides.seeds(tuned)
    if top is None or bottom is None:
        return Judged(reasons=(*lacking, *more), runs=runs, seeds=seeds)
    reference, arm = tuned
    made = [one.record for side in tuned for one in side.arm.made]
    between = [*arms.equal_tuning(tuned), *arms.mixed(made)]
    reasons = counted(claim, between, [*arm.reasons, *reference.reasons])
    ratio = arms.rate_ratio(arm.losses(), reference.losses())
    if ratio is None:
        text = "one of the arms has no optimum within its range of learning rates"
        return Judged(reasons=(*reasons, Reason("flat_curve", text)), runs=runs, seeds=seeds)
    assert claim.low is not None and claim.high is not None, "load checks it"
    allowed = f"{claim.low:g} to {claim.high:g}"
    name = "ratio of best learning rates"
    effect = Effect(name, ratio.estimate, ratio.low, ratio.high, allowed)
    word = inside(ratio.low, ratio.high, claim.low, claim.high)
    needed = _seeds_for_ratio(ratio, claim.low, claim.high)
    return Judged(effect, word, reasons, runs, seeds, needed)


def _seeds_for_ratio(found: arms.Optimum, low: float, high: float) -> int | None:
    """Return the number of seeds at which the interval would exclude the nearest end."""
    if found.low is None or found.high is None:
        return None
    half = math.log10(found.high / found.low) / 2
    distance = min(abs(math.log10(found.estimate / end)) for end in (low, high))
    return seeds_for(distance, half, found.seeds)


def judge_regret(claim: Claim, found: Sequence[Record]) -> Judged:
    """Compare the excess validation loss at a rule's learning rate with the margin."""
    read = arms.read(found)
    arm, lacking = sides.one(claim, "arm", claim.arm, read)
    full, more = (
        sides.one(claim, "reference", claim.reference, read) if claim.reference else (None, ())
    )
    reference = None if full is None else arms.tune(full)
    tuned = None if arm is None else arms.tune(arm)
    both = [one for one in (reference, tuned) if one is not None]
    runs, seeds = sides.runs(both), sides.seeds(both)
    reasons = [*lacking, *more, *(r for one in both for r in one.reasons)]
    rate = None
    if tuned is not None and tuned.best is not None and not (lacking or more):
        rate = _rule_rate(claim, reference)
        if rate is None:
            text = "the reference has no best learning rate to apply the rule to"
            reasons.append(Reason("flat_curve", text))
    if tuned is None or rate is None:
        return Judged(reasons=counted(claim, (), reasons), runs=runs, seeds=seeds)
    return _regret(claim, tuned, rate, reasons, Judged(runs=runs, seeds=seeds))


def _regret(claim: Claim, tuned: Tuned, rate: float, reasons: list[Reason], base: Judged) -> Judged:
    found = arms.regret(tuned, rate)
    reasons = [*reasons, *found.reasons]
    assert claim.margin is not None, "load checks it"
    allowed = f"below {claim.margin:.2%} of the lowest loss"
    name = f"excess loss at learning rate {rate:.3g}"
    if 0 < found.seeds < claim.seeds:
        text = (
            f"only {found.seeds} of {claim.seeds} seeds were run around the rule's learning rate "
            f"{rate:.3g}"
        )
        reasons.append(Reason("few_seeds", text))
    counting = counted(claim, (), reasons)
    if found.relative is None:
        return Judged(None, "undecided", counting, base.runs, base.seeds)
    if found.nats is None:
        worst = Effect(name, math.inf, None, None, allowed)
        return Judged(worst, "contradicted", counting, base.runs, base.seeds)
    lowest = found.nats.estimate / found.relative if found.relative else 1.0
    low, high = (None if e is None else e / lowest for e in (found.nats.low, found.nats.high))
    effect = Effect(name, found.relative, low, high, allowed)
    word = inside(low, high, None, claim.margin)
    needed = None
    if low is not None and high is not None:
        distance = abs(found.relative - claim.margin)
        needed = seeds_for(distance, (high - low) / 2, found.seeds)
    return Judged(effect, word, counting, base.runs, base.seeds, needed)


def _rule_rate(claim: Claim, reference: Tuned | None) -> float | None:
    if claim.rule == "hidden_size":
        full = claim.arm.get("lora.method") == "none"
        method: Literal["lora", "full"] = "full" if full else "lora"
        return arms.hidden_size_rate(int(claim.hidden or 0), str(claim.family), method)
    return None if reference is None else arms.ten_times_of(reference)
