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
from experiments.analysis.claims.case import (
    ALPHA,
    Effect,
    Judged,
    RangeTest,
    Verdict,
    allowed_range,
    compare_with_range,
)
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


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the slope with the allowed range."""
    selected = sides.both_sides(claim, records)
    partial = Judged(
        reasons=selected.reasons, runs=sides.runs(selected.tuned), seeds=sides.seeds(selected.tuned)
    )
    if arms.blocking(selected.reasons):
        return partial  # a slope over other values or other seeds would be a different quantity
    measured = _gap_slopes(claim, selected) if claim.of == "gap" else _ratio_slopes(claim, selected)
    if isinstance(measured, Reason):
        return replace(partial, reasons=(*selected.reasons, measured))
    margin = None
    if claim.margin is not None:
        margin = _margin(claim, selected.reference)
        if margin is None:
            text = f"no margin for {claim.score}: the untuned base was not scored, or no gain"
            return replace(partial, reasons=(*selected.reasons, Reason("no_score", text)))
    return _judge_slopes(claim, list(measured), margin, partial)


def _judge_slopes(
    claim: Claim, slopes: Sequence[float], margin: float | None, partial: Judged
) -> Judged:
    low, high = claim.low, claim.high
    level_is_claimed = low is None and high is None
    if level_is_claimed and margin is not None:
        low, high = -margin, margin
    test = compare_with_range(slopes, low, high)
    verdict, needed, rests_on_p = test.word, test.needed, test.p is not None
    if margin is not None and not test.reasons:
        needed = statistics.seeds_to_decide(test.interval.estimate, moments.stdev(slopes), margin)
        needed = None if needed is None else max(needed, len(slopes) + 1)
        if _is_level(slopes, margin):
            verdict, rests_on_p = ("supported" if level_is_claimed else "contradicted"), False
        elif verdict == "supported" and abs(test.interval.estimate) <= margin:
            verdict = "undecided"
    if verdict == "undecided" and claim.rival is not None:
        verdict = _rival_verdict(claim.rival, test)
    quantity, axis = (f"the gap in {claim.score}", "log2")
    if claim.of == "rate_ratio":
        quantity, axis = "log10 of the ratio of best learning rates", "log10"
    effect = Effect(
        f"slope of {quantity} on {axis} {claim.along}",
        test.interval.estimate,
        test.interval.low,
        test.interval.high,
        allowed_range(low, high),
    )
    return replace(partial, effect=effect, word=verdict, reasons=(*partial.reasons, *test.reasons),
                   needed=needed, p=test.p, rests_on_p=rests_on_p)  # fmt: skip


def _is_level(slopes: Sequence[float], margin: float) -> bool:
    """Return whether the 90 % interval is within the margin (two one-sided tests)."""
    interval = statistics.mean_interval(slopes, 1 - 2 * ALPHA)
    return (
        interval.low is not None
        and interval.high is not None
        and (-margin < interval.low and interval.high < margin)
    )


def _rival_verdict(rival: float, test: RangeTest) -> Verdict:
    low, high = test.interval.low, test.interval.high
    if low is None or high is None:
        return "undecided"
    return "contradicted" if low <= rival <= high and not low <= 0 <= high else "undecided"


def _gap_slopes(claim: Claim, selected: Sides) -> list[float] | Reason:
    """Return one slope per seed, in units of the score per doubling."""
    gaps = {
        number: (
            selected.arm[number].final(claim.score),
            selected.reference[number].final(claim.score),
        )
        for number in sorted(selected.arm)
    }
    common_seeds = set.intersection(*(set(side) for pair in gaps.values() for side in pair))
    if common_seeds != set(next(iter(selected.arm.values())).seeds):
        text = f"not every seed has {claim.score} at every value of {claim.along}"
        return Reason("no_score", text)
    x = [math.log2(number) for number in gaps]
    return [
        moments.linear_regression(x, [a[seed] - b[seed] for a, b in gaps.values()]).slope
        for seed in sorted(common_seeds)
    ]


def _ratio_slopes(claim: Claim, selected: Sides) -> list[float] | Reason:
    """Return a pseudo-value of the slope per seed, in decades of the ratio per decade."""
    numbers = sorted(selected.arm)
    optima = [
        (
            arms.left_out_optima(selected.arm[n].losses()),
            arms.left_out_optima(selected.reference[n].losses()),
        )
        for n in numbers
    ]
    x, ratios, left_out_ratios = [math.log10(n) for n in numbers], [], []
    for number, (arm_optima, reference_optima) in zip(numbers, optima, strict=True):
        if arm_optima is None or reference_optima is None:
            text = (
                f"at {claim.along} {number:g} an arm has no optimum within its range of learning "
                "rates"
            )
            return Reason("flat_curve", text)
        ratios.append(arm_optima[0] - reference_optima[0])
        left_out_ratios.append(
            {seed: arm_optima[1][seed] - reference_optima[1][seed] for seed in arm_optima[1]}
        )
    slope, seeds = moments.linear_regression(x, ratios).slope, sorted(left_out_ratios[0])
    n = len(seeds)
    others = [
        moments.linear_regression(x, [by_seed[s] for by_seed in left_out_ratios]).slope
        for s in seeds
    ]
    return [n * slope - (n - 1) * other for other in others]


def _margin(claim: Claim, reference: Mapping[float, Tuned]) -> float | None:
    """Return the margin per doubling: the end-to-end margin, as a share of the mean gain."""
    shares = [
        arms.gain_margin(tuned_arm, claim.score, claim.margin or 0)
        for tuned_arm in reference.values()
    ]
    known = [share for share in shares if share is not None]
    doublings = math.log2(max(reference) / min(reference))
    return math.fsum(known) / len(known) / doublings if len(known) == len(shares) else None
