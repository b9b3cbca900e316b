"""`best_of`: whether both arms score best at a low value of a key, by resampling the seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from experiments.analysis import arms
from experiments.analysis.arms import Reason
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import Effect, Judged, Verdict
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.sides import Sides
from experiments.evaluation import metrics
from experiments.records import Record

RESAMPLES = 10_000
SHARE = 0.95


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from sides.problems(claim, 2)
    numbers = [n for n in claim.numbers or claim.values if isinstance(n, int | float)]
    if claim.at_most is None or not any(n <= claim.at_most for n in numbers):
        yield f"at_most={claim.at_most}: give the largest value that may be the best one"
    elif all(n <= claim.at_most for n in numbers):
        yield f"at_most={claim.at_most}: no value is above it, so the claim cannot be refuted"
    if metrics.direction(claim.score) is None:
        yield f"score={claim.score}: no metric declares its direction"


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compute the share of seed resamples in which both arms are best at a low enough value."""
    selected = sides.both_sides(claim, records)
    partial = Judged(
        reasons=selected.reasons, runs=sides.runs(selected.tuned), seeds=sides.seeds(selected.tuned)
    )
    if arms.blocking(selected.reasons):
        return partial
    share = _share(claim, selected)
    if share is None:
        text = f"not every seed has {claim.score} at every value of {claim.along}"
        return replace(partial, reasons=(*selected.reasons, Reason("no_score", text)))
    verdict: Verdict = "holds here" if share >= SHARE else "unresolved"
    verdict = "does not hold here" if share <= 1 - SHARE else verdict
    effect = Effect(
        f"share of resamples with both best at {claim.along} <= {claim.at_most:g}",
        share,
        None,
        None,
        f"at least {SHARE:g}",
        "share of resamples",
    )
    return replace(partial, effect=effect, word=verdict)


def _share(claim: Claim, selected: Sides) -> float | None:
    import numpy as np

    numbers = sorted(selected.arm)
    sign = -1.0 if metrics.direction(claim.score) == "maximize" else 1.0
    low_enough = np.asarray(numbers) <= claim.at_most
    both_low, seeds = np.ones(RESAMPLES, dtype=bool), next(iter(selected.arm.values())).seeds
    resamples = np.random.default_rng(0).integers(0, len(seeds), (RESAMPLES, len(seeds)))
    for side in (selected.arm, selected.reference):
        finals = [side[n].final(claim.score) for n in numbers]
        if any(set(final) != set(seeds) for final in finals):
            return None
        table = np.asarray([[sign * final[seed] for final in finals] for seed in seeds])
        both_low &= low_enough[table[resamples].mean(axis=1).argmin(axis=1)]
    return float(both_low.mean())
