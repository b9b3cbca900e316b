"""`trend`: how a comparison changes along a key, such as the batch size, as a slope.

The slope is computed for each seed and test row, so that differences between seeds and between rows
that are the same at all values cancel. A ratio of best learning rates has no value for a single
seed. Its slopes are the pseudo-values of the jackknife, n times the slope of all seeds minus n - 1
times that without the seed (J. W. Tukey, "Bias and confidence in not quite large samples", Ann.
Math. Statist. 29 (1958)), which for means equal the slopes of the seeds.

If the values are bases with weights of their own, the bases are the sample, not the seeds: two
bases of one width differ too. Then there is no verdict with fewer than five.
"""

import math
import statistics as moments
from collections.abc import Iterator, Sequence
from dataclasses import replace

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason, row_values
from experiments.analysis.claims import class_gaps, sides, units
from experiments.analysis.claims.case import Effect, Judged, Verdict, allowed_range, decided
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.sides import Sides
from experiments.analysis.statistics import EqualityRule, MeanEstimate, RangeRule, Rule
from experiments.config.value_checks import one_of
from experiments.evaluation import metrics
from experiments.records import Record

QUANTITIES = ("gap", "rate_ratio")
LEAST_VALUES = 3
LEAST_BASES = 5


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from one_of("of", str(claim.of), QUANTITIES)
    yield from sides.problems(claim, LEAST_VALUES)
    if claim.of == "gap" and metrics.direction(claim.score) is None:
        yield f"score={claim.score}: no metric declares its direction"
    if claim.of == "rate_ratio":
        if claim.margin is not None:
            yield f"margin={claim.margin}: only a gap has a margin; give low and high instead"
        elif claim.low is None and claim.high is None:
            yield "low and high are missing: give at least one of them"
    if claim.low is not None and claim.high is not None and not claim.low < claim.high:
        yield f"low={claim.low} and high={claim.high}: low must be below high"


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the slope with the allowed range."""
    selected = sides.both_sides(claim, records)
    runs, seeds = sides.runs(selected.tuned), sides.seeds(selected.tuned)
    partial = Judged(reasons=selected.reasons, runs=runs, seeds=seeds)
    if arms.blocking(selected.reasons):
        return partial  # a slope over other values or other seeds would be a different quantity
    estimate = _gap_slope(claim, selected) if claim.of == "gap" else _ratio_slope(claim, selected)
    reasons = [*selected.reasons, *_few_bases(claim, selected), *units.problems(claim)]
    reasons += _unchecked_fits(selected) if claim.of == "rate_ratio" else ()
    if isinstance(estimate, Reason):
        return replace(partial, reasons=(*reasons, estimate))
    rule = None if any(True for _ in units.problems(claim)) else _rule(claim, selected)
    if rule is None and not any(True for _ in units.problems(claim)):
        text = (
            "no margin was fixed before the outcomes were seen: give margin, margin_source and "
            f"unit: {units.of(claim)}, and new runs"
        )
        reasons.append(Reason("no_margin", text))
    partial = replace(
        partial, reasons=tuple(reasons), effect=_effect(claim, selected, estimate, rule)
    )
    found = partial if rule is None else decided(claim, partial, estimate, rule)
    found = replace(found, word=_against_rival(claim, found.word, estimate))
    return class_gaps.added(claim, found, _pairs(selected), rule) if claim.of == "gap" else found


def _unchecked_fits(selected: Sides) -> Iterator[Reason]:
    """Yield why no verdict may rest on the best learning rates."""
    for tuned in selected.tuned:
        fit = arms.fit_rates(tuned.losses())
        if fit is not None and fit.problem is not None:
            yield Reason("flat_curve", fit.problem)


def _pairs(selected: Sides) -> list[class_gaps.Weighted]:
    """Return the arms at each value, weighted so that their sum is the slope."""
    numbers = sorted(selected.arm)
    weights = _slope_weights([math.log2(number) for number in numbers])
    return [
        class_gaps.Weighted(weight, selected.reference[number], selected.arm[number])
        for weight, number in zip(weights, numbers, strict=True)
    ]


def _rule(claim: Claim, selected: Sides) -> Rule | None:
    """Return the rule in units per doubling; None for a level trend without a margin."""
    if claim.low is not None or claim.high is not None:
        return RangeRule(claim.low, claim.high)
    if claim.margin is None:
        return None
    return EqualityRule(claim.margin / _doublings(selected))


def _doublings(selected: Sides) -> float:
    return math.log2(max(selected.reference) / min(selected.reference))


def _few_bases(claim: Claim, selected: Sides) -> Iterator[Reason]:
    bases = {str(tuned.arm.runs[0].record.identity.get("base_sha256")) for tuned in selected.tuned}
    if 1 < len(bases) < LEAST_BASES:
        text = (
            f"the values of {claim.along} are {len(bases)} bases, which are the sample here: two "
            f"bases of one kind differ too, so at least {LEAST_BASES} are required"
        )
        yield Reason("few_bases", text)


def _effect(claim: Claim, selected: Sides, estimate: MeanEstimate, rule: Rule | None) -> Effect:
    interval = estimate.interval()
    allowed = "no margin"
    if claim.low is not None or claim.high is not None:
        allowed = allowed_range(claim.low, claim.high)
    elif isinstance(rule, EqualityRule):
        allowed = f"within ±{rule.high:.3g} (±{claim.margin:g} from end to end)"
    quantity, axis, unit, mean = "log10 of the ratio of best learning rates", "log10", "", None
    if claim.of == "gap":
        finals = [tuned.final(claim.score) for tuned in selected.reference.values()]
        scores = [value for final in finals for value in final.values()]
        quantity, axis, mean = f"the gap in {claim.score}", "log2", math.fsum(scores) / len(scores)
        unit = f"{units.of_score(claim.score)} per doubling"
    name = f"slope of {quantity} on {axis} {claim.along}"
    ends = interval.estimate, interval.low, interval.high
    return Effect(name, *ends, allowed, unit or "decades per decade", mean, estimate.rows)


def _against_rival(claim: Claim, word: Verdict, estimate: MeanEstimate) -> Verdict:
    """Return `does not hold here` if an interval contains a rival theory's slope but not 0."""
    low, high = estimate.interval().low, estimate.interval().high
    if word != "unresolved" or claim.rival is None or low is None or high is None:
        return word
    return "does not hold here" if low <= claim.rival <= high and not low <= 0 <= high else word


def _gap_slope(claim: Claim, selected: Sides) -> MeanEstimate | Reason:
    """Return the slope over seeds and test rows, in units of the score per doubling."""
    numbers = sorted(selected.arm)
    pairs = [(selected.arm[n], selected.reference[n]) for n in numbers]
    finals = [(a.final(claim.score), b.final(claim.score)) for a, b in pairs]
    seeds = sorted(set.intersection(*(set(side) for pair in finals for side in pair)))
    expected = set.intersection(*(set(side.seeds) for pair in pairs for side in pair))
    if set(seeds) != expected or not seeds:
        text = f"not every seed has {claim.score} at every value of {claim.along}"
        return Reason("no_score", text)
    weights = _slope_weights([math.log2(number) for number in numbers])
    gaps = [
        math.fsum(w * (a[seed] - b[seed]) for w, (a, b) in zip(weights, finals, strict=True))
        for seed in seeds
    ]
    tables = [row_values.differences(a.runs, b.runs, seeds, claim.score) for a, b in pairs]
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) or any(table.keys() != known[0].keys() for table in known):
        return arms.difference_estimate(gaps, None)
    rows = {
        row: [math.fsum(w * table[row][at] for w, table in zip(weights, known, strict=True))
              for at in range(len(seeds))]
        for row in known[0]
    }  # fmt: skip
    return arms.difference_estimate(gaps, rows)


def _slope_weights(x: Sequence[float]) -> list[float]:
    """Return the weights that make a sum of values their least-squares slope on x."""
    mean = math.fsum(x) / len(x)
    squares = math.fsum((one - mean) ** 2 for one in x)
    return [(one - mean) / squares for one in x]


def _ratio_slope(claim: Claim, selected: Sides) -> MeanEstimate | Reason:
    """Return the jackknifed slope, in decades of the ratio per decade."""
    numbers = sorted(selected.arm)
    x, ratios, left_out_ratios = [math.log10(n) for n in numbers], [], []
    for number in numbers:
        arm_optima = arms.left_out_optima(selected.arm[number].losses())
        reference_optima = arms.left_out_optima(selected.reference[number].losses())
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
    slope = moments.linear_regression(x, ratios).slope
    left_out = [
        moments.linear_regression(x, [by_seed[s] for by_seed in left_out_ratios]).slope
        for s in sorted(left_out_ratios[0])
    ]
    return statistics.jackknife_estimate(slope, left_out)
