"""`departure`: the step at which arms of several sizes fall behind full fine-tuning.

Training losses at the best learning rates are compared, paired by seed, as means over bins whose
ends are a factor of sqrt(2) apart. An arm departs at the first step of the earliest bin from which
it exceeds the reference by more than the margin until the end, for at least two bins. An arm that
never does counts as departing after the end. LoRA lags in its first steps because B is 0; this is
not a departure, as LoRA catches up.

The order of the departures is compared with the order of the key: by Spearman's rank correlation
for each seed, and over seeds by Page's test, which is exact and suits so few and so discrete
numbers (E. B. Page, "Ordered hypotheses for multiple treatments", JASA 58 (1963), by
`scipy.stats.page_trend_test`). Before the first departure, the loss of the reference must be
linear in the log of the steps.
"""

import itertools
import math
import statistics as moments
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason, Tuned
from experiments.analysis.claims import sides, units
from experiments.analysis.claims.case import (
    ALPHA,
    Effect,
    Judged,
    Verdict,
    applicable_reasons,
)
from experiments.analysis.claims.claim import Claim
from experiments.records import Record

IN_A_ROW = 2
STRAIGHT = 0.98
"""Minimum R squared of the reference's loss on the log of the steps."""
LEAST_BINS = 4
LEAST_VALUES = 3


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from sides.problems(claim, LEAST_VALUES)


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the order of departures with the order of the key."""
    candidates = arms.read(records)
    reference_arm, missing = sides.single_arm(claim, "reference", claim.reference, candidates)
    by_number, more_missing = sides.arms_along(claim, "arm", claim.arm, candidates)
    tuned = {number: arms.tune(arm) for number, arm in by_number.items()}
    reference = None if reference_arm is None else arms.tune(reference_arm)
    all_tuned = [tuned_arm for tuned_arm in (reference, *tuned.values()) if tuned_arm is not None]
    arm_reasons = [
        *missing,
        *more_missing,
        *(r for tuned_arm in all_tuned for r in tuned_arm.reasons),
    ]
    mixed = arms.mixed([run.record for tuned_arm in all_tuned for run in tuned_arm.arm.runs])
    applicable = applicable_reasons(claim, [*arms.equal_tuning(all_tuned), *mixed], arm_reasons)
    partial = Judged(reasons=applicable, runs=sides.runs(all_tuned), seeds=sides.seeds(all_tuned))
    if reference is None or arms.blocking(applicable):
        return partial
    problems_of_margin = [*units.problems(claim)]
    if claim.margin is None:
        text = f"no margin was fixed before the outcomes were seen, in {units.of(claim)}"
        problems_of_margin.append(Reason("no_margin", text))
    if problems_of_margin:
        return replace(partial, reasons=(*applicable, *problems_of_margin))
    return _judge_order(claim, partial, tuned, reference, claim.margin or 0)


def _judge_order(
    claim: Claim, partial: Judged, tuned: Mapping[float, Tuned], reference: Tuned, margin: float
) -> Judged:
    starts, reference_losses = _binned(reference)
    binned = {number: _binned(single_arm) for number, single_arm in sorted(tuned.items())}
    if not starts or any(values[0] != starts for values in binned.values()):
        text = "the arms did not log the loss of the same steps (use trainer.logging_steps=1)"
        return replace(partial, reasons=(*partial.reasons, Reason("no_score", text)))
    beyond_end = starts[-1] * 2
    departures = [
        [
            _departure(starts, values[1][seed], reference_losses[seed], margin) or beyond_end
            for values in binned.values()
        ]
        for seed in sorted(reference_losses)
    ]
    means = {n: _mean(values[1]) for n, values in binned.items()}
    first_departure = min(
        _departure(starts, m, _mean(reference_losses), margin) or beyond_end for m in means.values()
    )
    linearity = _linearity(starts, _mean(reference_losses), first_departure)
    reasons = [*partial.reasons, *_reasons(departures, linearity)]
    correlations = [_rank_correlation(steps) for steps in departures]
    interval = statistics.mean_interval(correlations)
    p, verdict = (
        _page_test(departures, interval.estimate)
        if max(map(len, map(set, departures))) > 1
        else (None, None)
    )
    by_number = zip(binned, zip(*departures, strict=True), strict=True)
    steps = ", ".join(
        f"{n:g}: {_step_text(moments.median(values), beyond_end)}" for n, values in by_number
    )
    effect = Effect(
        f"rank correlation of departure with {claim.along} (median steps {steps})",
        interval.estimate,
        interval.low,
        interval.high,
        f"above 0; linear before (R2 {'-' if linearity is None else f'{linearity:.3f}'})",
        "rank correlation",
    )
    return replace(
        partial, effect=effect, word=verdict or "unresolved", reasons=tuple(reasons), p=p
    )


def _reasons(departures: Sequence[Sequence[float]], linearity: float | None) -> Iterator[Reason]:
    if all(len(set(steps)) == 1 for steps in departures):
        text = (
            "all arms depart at the same step or never: the runs are too short or the task too easy"
        )
        yield Reason("flat_curve", text)
    if linearity is None:
        text = f"fewer than {LEAST_BINS} bins lie before the first departure"
        yield Reason("flat_curve", f"{text}: no line can be fitted to the reference there")
    elif linearity < STRAIGHT:
        text = f"the reference's loss is not linear in the log of the steps (R2 {linearity:.3f}"
        yield Reason("flat_curve", f"{text}; at least {STRAIGHT} is required)")


def _binned(tuned_arm: Tuned) -> tuple[list[int], dict[int, list[float]]]:
    """Return the first step of each bin, and the mean losses by seed; empty if not logged."""
    curves = {
        seed: [float(p["loss"]) for p in run.record.curve if "loss" in p]
        for seed, run in tuned_arm.runs.items()
    }
    lengths = {len(losses) for losses in curves.values()}
    logged = all(
        [int(p["step"]) for p in run.record.curve if "loss" in p]
        == list(range(1, len(curves[seed]) + 1))
        for seed, run in tuned_arm.runs.items()
    )
    if len(lengths) != 1 or not logged or lengths == {0}:
        return [], {}
    steps = lengths.pop()
    ends = range(2 * math.ceil(math.log2(steps)) + 2)
    edges = sorted({min(round(2 ** (k / 2)), steps + 1) for k in ends})
    bins = list(itertools.pairwise(edges))
    means = {
        seed: [math.fsum(losses[a - 1 : b - 1]) / (b - a) for a, b in bins]
        for seed, losses in curves.items()
    }
    return [a for a, _ in bins], means


def _departure(
    starts: Sequence[int], arm: Sequence[float], reference: Sequence[float], margin: float
) -> int | None:
    """Return the step from which the arm remains above; None if it is not above at the end."""
    differences = reversed([a - b for a, b in zip(arm, reference, strict=True)])
    length = len(list(itertools.takewhile(lambda gap: gap > margin, differences)))
    return starts[-length] if length >= IN_A_ROW else None


def _mean(curves: Mapping[int, Sequence[float]]) -> list[float]:
    return [math.fsum(values) / len(values) for values in zip(*curves.values(), strict=True)]


def _linearity(starts: Sequence[int], losses: Sequence[float], before: float) -> float | None:
    x = [math.log(step) for step in starts if step < before]
    if len(x) < LEAST_BINS:
        return None
    y = losses[: len(x)]
    return moments.correlation(x, y) ** 2 if len(set(y)) > 1 else 0.0


def _rank_correlation(steps: Sequence[float]) -> float:
    """Return Spearman's correlation of departures with the key's order; 0 if all are equal."""
    if len(set(steps)) == 1:
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(range(len(steps)), list(steps)).statistic)


def _page_test(departures: Sequence[Sequence[float]], estimate: float) -> tuple[float, Verdict]:
    """Return the two-sided p-value of Page's test and the verdict."""
    from scipy.stats import page_trend_test

    ordered = departures if estimate >= 0 else [[-step for step in steps] for steps in departures]
    p = min(1.0, 2 * float(page_trend_test(ordered, method="exact").pvalue))
    if p >= ALPHA:
        return p, "unresolved"
    return p, "holds here" if estimate > 0 else "does not hold here"


def _step_text(step: float, beyond_end: float) -> str:
    return "never" if step >= beyond_end else f"{step:g}"
