"""`spectra`: the size of B relative to A, by the largest singular value of each.

The modules of one run are trained together and are not independent. The number compared with the
range is therefore one per seed: the median over modules of the log of the ratio.
"""

import math
import statistics as moments
from collections.abc import Iterator, Sequence

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import Effect, Judged, allowed_range, decided
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import RangeRule
from experiments.records import Record


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    ends = [end for end in (claim.low, claim.high) if end is not None]
    if not ends or min(ends) <= 0 or (len(ends) == 2 and ends[0] >= ends[1]):
        yield f"low={claim.low} and high={claim.high}: give the ends of the allowed range, above 0"


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the ratio of B to A at the end of training with the range."""
    arm, missing = sides.single_arm(claim, "arm", claim.arm, arms.read(records))
    if arm is None:
        return Judged(reasons=missing)
    tuned = arms.tune(arm)
    runs, reasons = sides.runs([tuned]), tuned.reasons
    logs = [_median_log_ratio(record) for record in runs]
    known = [value for value in logs if value is not None]
    if not known or len(known) < len(logs):
        text = f"{len(logs) - len(known)} of {len(logs)} records have no spectra of A and B"
        reasons = (*reasons, Reason("no_score", f"{text}: repeat these runs"))
        return Judged(reasons=reasons, runs=runs, seeds=len(runs))
    low, high = (None if end is None else math.log(end) for end in (claim.low, claim.high))
    estimate = statistics.seed_estimate(known)
    interval = estimate.interval()
    effect = Effect(
        "median over modules of |B| / |A| (spectral norms)",
        math.exp(interval.estimate),
        None if interval.low is None else math.exp(interval.low),
        None if interval.high is None else math.exp(interval.high),
        allowed_range(claim.low, claim.high),
    )
    partial = Judged(effect, reasons=reasons, runs=runs, seeds=len(runs))
    return decided(claim, partial, estimate, RangeRule(low, high))


def _median_log_ratio(record: Record) -> float | None:
    spectra = record.adapter.get("spectra")
    if not isinstance(spectra, dict) or not spectra:
        return None
    logs = []
    for pair in spectra.values():
        if not isinstance(pair, list) or len(pair) != 2 or not all(pair):
            return None  # a norm that is 0 or not finite has no log
        a, b = pair
        logs.append(math.log(b / a))
    return moments.median(logs)
