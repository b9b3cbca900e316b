"""`trend`: how a comparison changes along a key, such as the batch size, as a slope.

The slope is computed for each seed, so that differences between seeds that are the same at all
values cancel, and the interval is Student's over seeds. A ratio of best learning rates has no value
for a single seed. Its slopes are the pseudo-values of the jackknife, n times the slope of all seeds
minus n - 1 times that without the seed (J. W. Tukey, "Bias and confidence in not quite large
samples", Ann. Math. Statist. 29 (1958)), which for means equal the slopes of the seeds. With 5
seeds their interval covers 93 % of simulated slopes.
"""

import math
import statistics as moments
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason, Tuned
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import ALPHA, Effect, Held, Judged, Word, allowed_range, held
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.difference import share_problems
from experiments.analysis.claims.sides import Sides
from experiments.config.value_checks import one_of
from experiments.evaluation import metrics
from experiments.records import Record

QUANTITIES = ("gap", "rate_ratio")
LEAST_VALUES = 3


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from one_of("of", str(claim.of), QUANTITIES)
    yield from sides.problems(claim, LEAST_VALUES)
    if claim.of == "gap" and metrics.direction(claim.score) is None:
        yield f"score={claim.score}: no metric declares its direction"
    if claim.margin is not None:
        yield from share_problems(claim, "the reference's gain")
        if claim.of != "gap":
            yield f"margin={claim.margin}: only a gap has a margin; give low and high instead"
    elif claim.low is None and claim.high is None:
        yield "low, high and margin are missing: give at least one of them"
    if claim.low is not None and claim.high is not None and not claim.low < claim.high:
        yield f"low={claim.low} and high={claim.high}: low must be below high"


def judge(claim: Claim, found: Sequence[Record]) -> Judged:
    """Compare the slope with the allowed range."""
    both = sides.both(claim, found)
    base = Judged(reasons=both.reasons, runs=sides.runs(both.tuned), seeds=sides.seeds(both.tuned))
    if arms.blocking(both.reasons):
        return base  # a slope over other values or other seeds would be a different quantity
    measured = _gap_slopes(claim, both) if claim.of == "gap" else _ratio_slopes(claim, both)
    if isinstance(measured, Reason):
        return replace(base, reasons=(*both.reasons, measured))
    margin = None
    if claim.margin is not None:
        margin = _margin(claim, both.reference)
        if margin is None:
            text = f"no margin for {claim.score}: the untuned base was not scored, or no gain"
            return replace(base, reasons=(*both.reasons, Reason("no_score", text)))
    return _held(claim, list(measured), margin, base)


def _held(claim: Claim, slopes: Sequence[float], margin: float | None, base: Judged) -> Judged:
    low, high = claim.low, claim.high
    level_is_claimed = low is None and high is None
    if level_is_claimed and margin is not None:
        low, high = -margin, margin
    seen = held(slopes, low, high)
    word, needed, rests = seen.word, seen.needed, seen.p is not None
    if margin is not None and not seen.reasons:
        needed = statistics.seeds_to_decide(seen.interval.estimate, moments.stdev(slopes), margin)
        needed = None if needed is None else max(needed, len(slopes) + 1)
        if _is_level(slopes, margin):
            word, rests = ("supported" if level_is_claimed else "contradicted"), False
        elif word == "supported" and abs(seen.interval.estimate) <= margin:
            word = "undecided"
    if word == "undecided" and claim.rival is not None:
        word = _rival(claim.rival, seen)
    what, axis = (f"the gap in {claim.score}", "log2")
    if claim.of == "rate_ratio":
        what, axis = "log10 of the ratio of best learning rates", "log10"
    effect = Effect(
        f"slope of {what} on {axis} {claim.along}",
        seen.interval.estimate,
        seen.interval.low,
        seen.interval.high,
        allowed_range(low, high),
    )
    return replace(base, effect=effect, word=word, reasons=(*base.reasons, *seen.reasons),
                   needed=needed, p=seen.p, rests_on_p=rests)  # fmt: skip


def _is_level(slopes: Sequence[float], margin: float) -> bool:
    """Return whether the 90 % interval is within the margin (two one-sided tests)."""
    found = statistics.mean_interval(slopes, 1 - 2 * ALPHA)
    return (
        found.low is not None
        and found.high is not None
        and (-margin < found.low and found.high < margin)
    )


def _rival(rival: float, seen: Held) -> Word:
    low, high = seen.interval.low, seen.interval.high
    if low is None or high is None:
        return "undecided"
    return "contradicted" if low <= rival <= high and not low <= 0 <= high else "undecided"


def _gap_slopes(claim: Claim, both: Sides) -> list[float] | Reason:
    """Return one slope per seed, in units of the score per doubling."""
    gaps = {
        number: (both.arm[number].final(claim.score), both.reference[number].final(claim.score))
        for number in sorted(both.arm)
    }
    every = set.intersection(*(set(side) for pair in gaps.values() for side in pair))
    if every != set(next(iter(both.arm.values())).seeds):
        text = f"not every seed has {claim.score} at every value of {claim.along}"
        return Reason("no_score", text)
    x = [math.log2(number) for number in gaps]
    return [
        moments.linear_regression(x, [a[seed] - b[seed] for a, b in gaps.values()]).slope
        for seed in sorted(every)
    ]


def _ratio_slopes(claim: Claim, both: Sides) -> list[float] | Reason:
    """Return a pseudo-value of the slope per seed, in decades of the ratio per decade."""
    numbers = sorted(both.arm)
    found = [
        (
            arms.left_out_optima(both.arm[n].losses()),
            arms.left_out_optima(both.reference[n].losses()),
        )
        for n in numbers
    ]
    x, whole, without = [math.log10(n) for n in numbers], [], []
    for number, (top, bottom) in zip(numbers, found, strict=True):
        if top is None or bottom is None:
            text = (
                f"at {claim.along} {number:g} an arm has no optimum within its range of learning "
                "rates"
            )
            return Reason("flat_curve", text)
        whole.append(top[0] - bottom[0])
        without.append({seed: top[1][seed] - bottom[1][seed] for seed in top[1]})
    slope, seeds = moments.linear_regression(x, whole).slope, sorted(without[0])
    n = len(seeds)
    others = [moments.linear_regression(x, [by[s] for by in without]).slope for s in seeds]
    return [n * slope - (n - 1) * other for other in others]


def _margin(claim: Claim, reference: Mapping[float, Tuned]) -> float | None:
    """Return the margin per doubling: the end-to-end margin, as a share of the mean gain."""
    shares = [arms.gain_margin(one, claim.score, claim.margin or 0) for one in reference.values()]
    known = [share for share in shares if share is not None]
    doublings = math.log2(max(reference) / min(reference))
    return math.fsum(known) / len(known) / doublings if len(known) == len(shares) else None
