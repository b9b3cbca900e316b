"""Judge a claim at the looks of its design: at 3 seeds with alpha .005, and at 5 with .045.

The seeds of a look are those that were started first, and the learning rates that the first look
chose stay. The first verdict stays too, beside the interval over the seeds that gave it; what all
seeds say is named with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Arm, Contrast, Tuned
from experiments.analysis.claims.case import Judged, with_decision
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import LOOKS, Decision, Look, MeanEstimate, Rule

KINDS = ("difference", "reaches_full")


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each value that looks do not allow."""
    if claim.looks and claim.kind not in KINDS:
        yield f"looks=true: kind {claim.kind} has no looks, only {' and '.join(KINDS)}"
    elif claim.looks and claim.seeds != LOOKS[-1].seeds:
        yield f"seeds={claim.seeds}: with looks=true the last look is at {LOOKS[-1].seeds} seeds"


def least_seeds(claim: Claim) -> int:
    """Return the number of seeds from which a verdict may be given."""
    return LOOKS[0].seeds if claim.looks else claim.seeds


def tuned_pairs(claim: Claim, reference: Arm, arm: Arm) -> list[tuple[Tuned, Tuned]]:
    """Return the tuned reference and arm at each look that was taken, in order.

    Without looks, and with too few seeds for the first, it is one pair with all seeds.
    """
    whole = arms.tune(reference), arms.tune(arm)
    order = _started(whole)
    taken = [look for look in LOOKS if look.seeds <= len(order)]
    if not claim.looks or not taken:
        return [whole]
    found: list[tuple[Tuned, Tuned]] = []
    for look in taken:
        seeds = sorted(order[: look.seeds])
        pair = arms.tune(reference, seeds), arms.tune(arm, seeds)
        first = found[0] if found else pair
        found.append((_at_rate_of(first[0], pair[0]), _at_rate_of(first[1], pair[1])))
    return found


@dataclass(frozen=True)
class LookTaken:
    """The first look that decides, or the last that was taken."""

    index: int
    look: Look
    decision: Decision
    last: MeanEstimate
    """The estimate over the seeds of all looks that were taken."""


def alpha(taken: LookTaken | None) -> float:
    """Return the level at which a word was given: that of its look, or 0.05 without looks."""
    return statistics.ALPHA if taken is None else taken.look.alpha


def first_verdict(
    claim: Claim, contrasts: Sequence[Contrast], rule: Rule, sign: float
) -> LookTaken | None:
    """Return the look that gives the word; None without looks, or before the first.

    Args:
        claim: the claim.
        contrasts: one per pair of `tuned_pairs`.
        rule: what an interval must satisfy.
        sign: of the effect that the claim asserts.
    """
    estimates = _taken(claim, contrasts)
    if not estimates:
        return None
    found, look = statistics.decide_at_looks([signed(one, sign) for one in estimates], rule)
    return LookTaken(LOOKS.index(look), look, found, estimates[-1])


def first_reached(
    claim: Claim, contrasts: Sequence[Contrast], improvements: Sequence[Contrast]
) -> LookTaken | None:
    """Return the look that gives the word of `statistics.reaches_full`; None as `first_verdict`.

    Args:
        claim: the claim.
        contrasts: of the arm with the reference's earlier step, one per pair of `tuned_pairs`.
        improvements: of the reference's earlier step with its end.
    """
    pairs = list(zip(_taken(claim, contrasts), _taken(claim, improvements), strict=False))
    if not pairs:
        return None
    found, look = statistics.first_decision(
        [statistics.reaches_full(*pair, one.alpha) for pair, one in zip(pairs, LOOKS, strict=False)]
    )
    return LookTaken(LOOKS.index(look), look, found, pairs[-1][0])


def _taken(claim: Claim, contrasts: Sequence[Contrast]) -> list[MeanEstimate]:
    """Return the estimates at the looks at which every seed has its scores."""
    estimates: list[MeanEstimate] = []
    for look, one in zip(LOOKS, contrasts, strict=False):
        if not claim.looks or one.estimate is None or one.estimate.seeds != look.seeds:
            break
        estimates.append(one.estimate)
    return estimates


def signed(estimate: MeanEstimate, sign: float) -> MeanEstimate:
    """Return an estimate in the direction that a claim asserts."""
    return replace(estimate, estimate=sign * estimate.estimate)


def with_look(claim: Claim, judged: Judged, taken: LookTaken) -> Judged:
    """Return a result with the word of a look, its alpha, and what later seeds say."""
    said = f"look at {taken.look.seeds} seeds: the {100 * (1 - taken.look.alpha):g} % interval"
    judged = replace(judged, qualifiers=(f"{said} decides", *_all_seeds(taken)))
    needed = None
    if taken.decision.word == statistics.UNRESOLVED:
        last = taken.look == LOOKS[-1]
        needed = judged.needed if last else _next_look(taken.look)
    return with_decision(claim, judged, taken.last, taken.decision, needed)


def _all_seeds(taken: LookTaken) -> Iterator[str]:
    if taken.last.seeds > taken.look.seeds:
        found = taken.last.interval(1 - statistics.ALPHA)
        ends = f"[{found.low:.3g}, {found.high:.3g}]"
        yield f"all {taken.last.seeds} seeds: {found.estimate:.3g} {ends}"


def _next_look(look: Look) -> str:
    later = next(other for other in LOOKS if other.seeds > look.seeds)
    return f"the look at {look.seeds} seeds does not decide: the next is at {later.seeds} seeds"


def _started(pair: Sequence[Tuned]) -> list[int]:
    """Return the seeds that both arms have, in the order in which both had started them."""
    common = sorted(set(pair[0].seeds) & set(pair[1].seeds))
    return sorted(common, key=lambda seed: max(_first_start(one.arm, seed) for one in pair))


def _first_start(arm: Arm, seed: int) -> str:
    return min((run.record.started_at for run in arm.runs if run.seed == seed), default="")


def _at_rate_of(first: Tuned, tuned: Tuned) -> Tuned:
    return replace(tuned, best=first.best, near=first.near)
