"""`same_start`: whether arms learn alike in their first steps, at one shared learning rate.

Training losses after 1 to 5 updates (logged at steps 2 to 6) are compared, paired by seed, with
those of the arm that has the highest value of the key. The unit is the drop of the loss over these
updates. Arms are alike if the interval of each of these differences is within the margin: if each
test has a level of 5 %, so does the claim that all are true (R. L. Berger, "Multiparameter
hypothesis testing and acceptance sampling", Technometrics 24 (1982)). They are unlike if one
interval is entirely outside at a level shared among all of them. The control must be unlike, to
prove that the test can detect a difference.

As all must hold, the number of seeds that would decide is that of the difference with the largest
deviation, at a power of 1 - 0.2 / k for each of the k.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Arm, Reason
from experiments.analysis.claims import sides, units
from experiments.analysis.claims.case import Effect, Judged, applicable_reasons
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import Decision, EqualityRule, Interval, MeanEstimate
from experiments.records import Record

UPDATES = 5


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from sides.problems(claim, 2)
    if not claim.control:
        yield "control must name arms that are known to start differently"


@dataclass(frozen=True)
class _Spread:
    """How much the first losses of some arms differ."""

    runs: tuple[Record, ...] = ()
    reasons: tuple[Reason, ...] = ()
    found: Decision = field(default_factory=lambda: Decision("unresolved"))
    widest: Interval | None = None
    """The largest mean difference, as a share of the drop of the loss."""
    needed: str | None = None


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the first losses of the arms, and those of the control arms."""
    candidates = arms.read(records)
    main = _spread(claim, "arm", claim.arm, candidates)
    control = _spread(claim, "control", claim.control, candidates)
    reasons, runs = (*main.reasons, *control.reasons), (*main.runs, *control.runs)
    seeds = len({r.config.get("seed") for r in main.runs})
    if main.widest is None or control.widest is None:
        return Judged(reasons=reasons, runs=runs, seeds=seeds)
    if control.found.word != "does not hold here":
        text = (
            f"the arms of the control start alike too (within {abs(control.widest.estimate):.2%})"
        )
        reasons = (*reasons, Reason("gate", f"{text}: this test cannot detect a difference"))
    effect = Effect(
        f"largest difference of losses after 1 to {UPDATES} updates, relative to their drop",
        main.widest.estimate,
        main.widest.low,
        main.widest.high,
        f"{'no margin' if claim.margin is None else f'within {claim.margin:.2%}'} "
        f"(control: {control.widest.estimate:.2%})",
        units.INITIAL_DROP,
    )
    reasons += (*units.problems(claim), *_no_margin(claim))
    found, needed = main.found, main.needed
    p = None if found.word == "unresolved" else found.p
    qualifiers = (found.qualifier,) if found.qualifier else ()
    return Judged(effect, found.word, reasons, runs, seeds, needed, p, qualifiers)


def _no_margin(claim: Claim) -> Iterator[Reason]:
    if claim.margin is None:
        text = f"no margin was fixed before the outcomes were seen, as {units.INITIAL_DROP}"
        yield Reason("no_margin", text)


def _spread(
    claim: Claim, name: str, selection: Mapping[str, Any], candidates: Sequence[Arm]
) -> _Spread:
    by_number, missing = sides.arms_along(claim, name, selection, candidates)
    arm_runs = [run for arm in by_number.values() for run in arm.runs]
    records = tuple(run.record for run in arm_runs)
    curves = {
        n: {run.seed: _losses(run.record) for run in arm.runs} for n, arm in by_number.items()
    }
    own = [*missing, *(r for arm in by_number.values() for r in arm.reasons)]
    own += [] if missing else _unequal_reasons(claim, name, by_number, curves)
    applicable = applicable_reasons(claim, list(arms.mixed(records)), own)
    if arms.blocking(applicable):
        return _Spread(records, applicable)
    known = {n: {s: own for s, own in side.items() if own} for n, side in curves.items()}
    drop = _mean_drop(known)
    if drop <= 0:
        text = f"the loss of the {name} does not drop in the first {UPDATES} updates"
        return _Spread(records, (*applicable, Reason("no_score", text)))
    return _compare_starts(known, drop, claim.margin, _Spread(records, applicable))


def _unequal_reasons(
    claim: Claim,
    name: str,
    by_number: Mapping[float, Arm],
    curves: Mapping[float, Mapping[int, Sequence[float] | None]],
) -> Iterator[Reason]:
    if len({run.rate for arm in by_number.values() for run in arm.runs}) > 1:
        text = f"the {name} was run at several learning rates, but starts are compared at one"
        yield Reason("unequal_tuning", text)
    seeds = {frozenset(by_seed) for by_seed in curves.values()}
    if len(seeds) > 1:
        text = f"the seeds of the {name} differ between values of {claim.along}"
        yield Reason("unequal_seeds", text)
    elif min(map(len, seeds), default=0) < 2:
        yield Reason("one_seed", f"the {name} has only one seed")
    if any(losses is None for by_seed in curves.values() for losses in by_seed.values()):
        text = f"the {name} lacks a finite logged loss at some of its first {UPDATES + 1} steps"
        yield Reason("no_score", f"{text} (use trainer.logging_steps=1)")


_Losses = Mapping[float, Mapping[int, Sequence[float]]]
"""Training loss before each update, from 0 to UPDATES, by value of the key and seed."""


def _losses(record: Record) -> list[float] | None:
    """Return the loss after 0 to UPDATES updates; a step's loss is logged before its update."""
    by_step = {int(p["step"]): float(p["loss"]) for p in record.curve if "loss" in p}
    losses = [by_step.get(step, math.nan) for step in range(1, UPDATES + 2)]
    return losses if all(map(math.isfinite, losses)) else None


def _mean_drop(curves: _Losses) -> float:
    drops = [losses[0] - losses[-1] for by_seed in curves.values() for losses in by_seed.values()]
    return math.fsum(drops) / len(drops)


def _compare_starts(
    curves: _Losses, drop: float, margin: float | None, partial: _Spread
) -> _Spread:
    """Return the verdict, and the interval of the step and arm with the largest difference."""
    reference = curves[max(curves)]
    differences = [
        statistics.seed_estimate(
            [(by_seed[s][k] - reference[s][k]) / drop for s in sorted(reference)]
        )
        for n, by_seed in curves.items()
        if n != max(curves)
        for k in range(1, UPDATES + 1)
    ]
    widest = max(differences, key=lambda found: abs(found.estimate)).interval()
    if margin is None or not margin > 0:
        return replace(partial, widest=widest)
    found = statistics.all_hold(differences, EqualityRule(margin))
    return replace(partial, found=found, widest=widest, needed=_needed(differences, margin))


def _needed(differences: Sequence[MeanEstimate], margin: float) -> str:
    """Return how many seeds would show that all differences are within the margin."""
    widest = max(differences, key=lambda found: found.deviation)
    power = 1 - (1 - statistics.POWER) / len(differences)
    needed = statistics.seeds_needed(EqualityRule(margin), widest, power=power)
    return f"if all started alike, a verdict would take {needed} in total"
