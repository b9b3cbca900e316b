"""`difference`: arm minus reference in a test score, each at its own best learning rate."""

from collections.abc import Iterator, Sequence

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Tuned
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import ALPHA, Effect, Judged, Word
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


def share_problems(claim: Claim, of: str) -> Iterator[str]:
    """Yield what is wrong with a margin that is a share."""
    if claim.margin is None or not 0 < claim.margin < 1:
        yield f"margin={claim.margin}: give a share of {of}, above 0 and below 1"


def judge(claim: Claim, found: Sequence[Record]) -> Judged:
    """Compare the difference, paired by seed, with the expectation of the claim."""
    read = arms.read(found)
    arm, lacking = sides.one(claim, "arm", claim.arm, read)
    reference, more = sides.one(claim, "reference", claim.reference, read)
    tuned: list[Tuned] = [arms.tune(side) for side in (reference, arm) if side is not None]
    base = Judged(reasons=(*lacking, *more), runs=sides.runs(tuned), seeds=sides.seeds(tuned))
    if arm is None or reference is None:
        return base
    margin = arms.gain_margin(tuned[0], claim.score, claim.margin or 0)
    floor = arms.repeats(found, claim.score)
    contrast = arms.contrast(tuned[0], tuned[1], margin, claim.score, claim.may_differ, floor)
    if contrast.comparison is None:
        return Judged(reasons=contrast.reasons, runs=base.runs, seeds=base.seeds)
    compared = contrast.comparison
    gap = compared.difference
    effect = Effect(
        f"{claim.score}, arm - reference",
        gap.estimate,
        gap.low,
        gap.high,
        f"{claim.expects} at a margin of {compared.margin:.3g}",
    )
    needed = statistics.seeds_to_decide(gap.estimate, compared.deviation, compared.margin)
    needed = None if needed is None else max(needed, gap.n + 1)
    word, rests = _word(compared, str(claim.expects))
    return Judged(effect, word, contrast.reasons, base.runs, base.seeds, needed,
                  compared.p_difference, rests)  # fmt: skip


def _word(compared: Comparison, expects: str) -> tuple[Word, bool]:
    """Return the verdict and whether it requires a small adjusted p-value."""
    finding = compared.finding
    rests = finding in ("better", "worse") and compared.p_difference < ALPHA
    if finding == expects:
        return "supported", rests
    if expects == "tied":
        return _outside(compared.difference, compared.margin), False
    if finding in ("tied", _OPPOSITE[expects]):
        return "contradicted", rests
    return "undecided", False


def _outside(gap: Interval, margin: float) -> Word:
    """Return `contradicted` if the interval is entirely beyond the margin, else `undecided`."""
    if gap.low is None or gap.high is None:
        return "undecided"
    return "contradicted" if gap.low > margin or gap.high < -margin else "undecided"
