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
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import ALPHA, Effect, Judged, Word, counted, seeds_for
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.difference import share_problems
from experiments.records import Record

IN_A_ROW = 2
STRAIGHT = 0.98
"""Minimum R squared of the reference's loss on the log of the steps."""
LEAST_BINS = 4
LEAST_VALUES = 3


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from sides.problems(claim, LEAST_VALUES)
    yield from share_problems(claim, "the reference's gain")


def judge(claim: Claim, found: Sequence[Record]) -> Judged:
    """Compare the order of departures with the order of the key."""
    read = arms.read(found)
    full, lacking = sides.one(claim, "reference", claim.reference, read)
    by, more = sides.along(claim, "arm", claim.arm, read)
    tuned = {number: arms.tune(arm) for number, arm in by.items()}
    reference = None if full is None else arms.tune(full)
    every = [one for one in (reference, *tuned.values()) if one is not None]
    own = [*lacking, *more, *(r for one in every for r in one.reasons)]
    mixed = arms.mixed([made.record for one in every for made in one.arm.made])
    counting = counted(claim, [*arms.equal_tuning(every), *mixed], own)
    base = Judged(reasons=counting, runs=sides.runs(every), seeds=sides.seeds(every))
    if reference is None or arms.blocking(counting):
        return base
    margin = arms.gain_margin(reference, claim.score, claim.margin or 0)
    if margin is None:
        text = (
            f"no margin for {claim.score}: the untuned base was not scored, or training gained "
            "nothing"
        )
        return replace(base, reasons=(*counting, Reason("no_score", text)))
    return _judged(claim, base, tuned, reference, margin)


def _judged(
    claim: Claim, base: Judged, tuned: Mapping[float, Tuned], reference: Tuned, margin: float
) -> Judged:
    starts, full = _binned(reference)
    sided = {number: _binned(one) for number, one in sorted(tuned.items())}
    if not starts or any(own[0] != starts for own in sided.values()):
        text = "the arms did not log the loss of the same steps (use trainer.logging_steps=1)"
        return replace(base, reasons=(*base.reasons, Reason("no_score", text)))
    after = starts[-1] * 2
    left = [
        [_departure(starts, own[1][seed], full[seed], margin) or after for own in sided.values()]
        for seed in sorted(full)
    ]
    means = {n: _mean(own[1]) for n, own in sided.items()}
    first = min(_departure(starts, m, _mean(full), margin) or after for m in means.values())
    straight = _straightness(starts, _mean(full), first)
    reasons = [*base.reasons, *_reasons(left, straight)]
    known = [_rank_correlation(steps) for steps in left]
    found = statistics.mean_interval(known)
    p, word = _order(left, found.estimate) if max(map(len, map(set, left))) > 1 else (None, None)
    each = zip(sided, zip(*left, strict=True), strict=True)
    steps = ", ".join(f"{n:g}: {_shown(moments.median(own), after)}" for n, own in each)
    effect = Effect(
        f"rank correlation of departure with {claim.along} (median steps {steps})",
        found.estimate,
        found.low,
        found.high,
        f"above 0; linear before (R2 {'-' if straight is None else f'{straight:.3f}'})",
    )
    half = None if found.low is None or found.high is None else (found.high - found.low) / 2
    needed = None if half is None else seeds_for(abs(found.estimate), half, found.n)
    return replace(base, effect=effect, word=word or "undecided", reasons=tuple(reasons),
                   needed=needed, p=p, rests_on_p=p is not None)  # fmt: skip


def _reasons(left: Sequence[Sequence[float]], straight: float | None) -> Iterator[Reason]:
    if all(len(set(steps)) == 1 for steps in left):
        text = (
            "all arms depart at the same step or never: the runs are too short or the task too easy"
        )
        yield Reason("flat_curve", text)
    if straight is None:
        text = f"fewer than {LEAST_BINS} bins lie before the first departure"
        yield Reason("flat_curve", f"{text}: no line can be fitted to the reference there")
    elif straight < STRAIGHT:
        text = f"the reference's loss is not linear in the log of the steps (R2 {straight:.3f}"
        yield Reason("flat_curve", f"{text}; at least {STRAIGHT} is required)")


def _binned(one: Tuned) -> tuple[list[int], dict[int, list[float]]]:
    """Return the first step of each bin, and the mean losses by seed; empty if not logged."""
    curves = {
        seed: [float(p["loss"]) for p in made.record.curve if "loss" in p]
        for seed, made in one.runs.items()
    }
    lengths = {len(losses) for losses in curves.values()}
    logged = all(
        [int(p["step"]) for p in made.record.curve if "loss" in p]
        == list(range(1, len(curves[seed]) + 1))
        for seed, made in one.runs.items()
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
    gaps = reversed([a - b for a, b in zip(arm, reference, strict=True)])
    last = len(list(itertools.takewhile(lambda gap: gap > margin, gaps)))
    return starts[-last] if last >= IN_A_ROW else None


def _mean(curves: Mapping[int, Sequence[float]]) -> list[float]:
    return [math.fsum(values) / len(values) for values in zip(*curves.values(), strict=True)]


def _straightness(starts: Sequence[int], full: Sequence[float], before: float) -> float | None:
    x = [math.log(step) for step in starts if step < before]
    if len(x) < LEAST_BINS:
        return None
    y = full[: len(x)]
    return moments.correlation(x, y) ** 2 if len(set(y)) > 1 else 0.0


def _rank_correlation(steps: Sequence[float]) -> float:
    """Return Spearman's correlation of departures with the key's order; 0 if all are equal."""
    if len(set(steps)) == 1:
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(range(len(steps)), list(steps)).statistic)


def _order(left: Sequence[Sequence[float]], estimate: float) -> tuple[float, Word]:
    """Return the two-sided p-value of Page's test and the verdict."""
    from scipy.stats import page_trend_test

    given = left if estimate >= 0 else [[-step for step in steps] for steps in left]
    p = min(1.0, 2 * float(page_trend_test(given, method="exact").pvalue))
    if p >= ALPHA:
        return p, "undecided"
    return p, "supported" if estimate > 0 else "contradicted"


def _shown(step: float, after: float) -> str:
    return "never" if step >= after else f"{step:g}"
