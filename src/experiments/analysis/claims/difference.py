"""`difference`: arm minus reference in a test score, each at its own best learning rate."""

from collections.abc import Iterator, Sequence

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Tuned
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import ALPHA, Effect, Judged, Verdict
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import Comparison, Interval
from experiments.config.value_checks import one_of
from experiments.evaluation import metrics
from experiments.records import Record

EXPECTATIONS = ("tied", "better", "worse")
_OPPOSITE = {"better": "worse", "worse": "better"}


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from one_of("expects", str(claim.expects), EXPECTATIONS)
    if metrics.direction(claim.score) is None:
        yield f"score={claim.score}: no metric declares its direction"
    yield from share_problems(claim, "the reference's gain")


def share_problems(claim: Claim, quantity: str) -> Iterator[str]:
    """Yield what is wrong with a margin that is a share."""
    if claim.margin is None or not 0 < claim.margin < 1:
        yield f"margin={claim.margin}: give a share of {quantity}, above 0 and below 1"


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
    margin = arms.gain_margin(tuned[0], claim.score, claim.margin or 0)
    floor = arms.repeats(records, claim.score)
    contrast = arms.contrast(tuned[0], tuned[1], margin, claim.score, claim.may_differ, floor)
    if contrast.comparison is None:
        return Judged(reasons=contrast.reasons, runs=partial.runs, seeds=partial.seeds)
    comparison = contrast.comparison
    difference = comparison.difference
    effect = Effect(
        f"{claim.score}, arm - reference",
        difference.estimate,
        difference.low,
        difference.high,
        f"{claim.expects} at a margin of {comparison.margin:.3g}",
    )
    needed = statistics.seeds_to_decide(
        difference.estimate, comparison.deviation, comparison.margin
    )
    needed = None if needed is None else max(needed, difference.n + 1)
    verdict, rests_on_p = _verdict(comparison, str(claim.expects))
    return Judged(effect, verdict, contrast.reasons, partial.runs, partial.seeds, needed,
                  comparison.p_difference, rests_on_p)  # fmt: skip


def _verdict(comparison: Comparison, expects: str) -> tuple[Verdict, bool]:
    """Return the verdict and whether it requires a small adjusted p-value."""
    finding = comparison.finding
    rests_on_p = finding in ("better", "worse") and comparison.p_difference < ALPHA
    if finding == expects:
        return "supported", rests_on_p
    if expects == "tied":
        return _beyond_margin(comparison.difference, comparison.margin), False
    if finding in ("tied", _OPPOSITE[expects]):
        return "contradicted", rests_on_p
    return "undecided", False


def _beyond_margin(difference: Interval, margin: float) -> Verdict:
    """Return `contradicted` if the interval is entirely beyond the margin, else `undecided`."""
    if difference.low is None or difference.high is None:
        return "undecided"
    return "contradicted" if difference.low > margin or difference.high < -margin else "undecided"
