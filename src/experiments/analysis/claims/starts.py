"""`same_start`: whether arms learn alike in their first steps, at one shared learning rate.

Training losses after 1 to 5 updates (logged at steps 2 to 6) are compared, paired by seed, with
those of the arm that has the highest value of the key. The unit is the drop of the loss over these
updates. Arms are alike if their 90 % intervals are within the margin at every step: if each test
has a level of 5 %, so does the claim that all are true (R. L. Berger, "Multiparameter hypothesis
testing and acceptance sampling", Technometrics 24 (1982)). They are unlike if one interval, at
95 % shared among all of them, is entirely outside. The control must be unlike, to prove that the
test can detect a difference.
"""

import math
import statistics as moments
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Arm, Reason
from experiments.analysis.claims import sides
from experiments.analysis.claims.case import ALPHA, Effect, Judged, Word, counted
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.difference import share_problems
from experiments.analysis.statistics import Interval
from experiments.records import Record

UPDATES = 5


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    yield from sides.problems(claim, 2)
    yield from share_problems(claim, "the initial drop of the loss")
    if not claim.control:
        yield "control must name arms that are known to start differently"


@dataclass(frozen=True)
class _Spread:
    """How much the first losses of some arms differ."""

    runs: tuple[Record, ...] = ()
    reasons: tuple[Reason, ...] = ()
    word: Word = "undecided"
    widest: Interval | None = None
    """The largest mean difference, as a share of the drop of the loss."""
    needed: int | None = None


def judge(claim: Claim, found: Sequence[Record]) -> Judged:
    """Compare the first losses of the arms, and those of the control arms."""
    read = arms.read(found)
    main = _spread(claim, "arm", claim.arm, read)
    control = _spread(claim, "control", claim.control, read)
    reasons, runs = (*main.reasons, *control.reasons), (*main.runs, *control.runs)
    seeds = len({r.config.get("seed") for r in main.runs})
    if main.widest is None or control.widest is None:
        return Judged(reasons=reasons, runs=runs, seeds=seeds)
    if control.word != "contradicted":
        text = (
            f"the arms of the control start alike too (within {abs(control.widest.estimate):.2%})"
        )
        reasons = (*reasons, Reason("gate", f"{text}: this test cannot detect a difference"))
    effect = Effect(
        f"largest difference of losses after 1 to {UPDATES} updates, relative to their drop",
        main.widest.estimate,
        main.widest.low,
        main.widest.high,
        f"within {claim.margin:.2%} (control: {control.widest.estimate:.2%})",
    )
    return Judged(effect, main.word, reasons, runs, seeds, main.needed)


def _spread(claim: Claim, name: str, wanted: Mapping[str, Any], read: Sequence[Arm]) -> _Spread:
    by, lacking = sides.along(claim, name, wanted, read)
    made = [one for arm in by.values() for one in arm.made]
    runs = tuple(one.record for one in made)
    curves = {n: {one.seed: _losses(one.record) for one in arm.made} for n, arm in by.items()}
    own = [*lacking, *(r for arm in by.values() for r in arm.reasons)]
    own += [] if lacking else _uneven(claim, name, by, curves)
    counting = counted(claim, list(arms.mixed(runs)), own)
    if arms.blocking(counting):
        return _Spread(runs, counting)
    known = {n: {s: own for s, own in side.items() if own} for n, side in curves.items()}
    fall = _fall(known)
    if fall <= 0:
        text = f"the loss of the {name} does not drop in the first {UPDATES} updates"
        return _Spread(runs, (*counting, Reason("no_score", text)))
    return _apart(known, fall, claim.margin or 0, _Spread(runs, counting))


def _uneven(
    claim: Claim,
    name: str,
    by: Mapping[float, Arm],
    curves: Mapping[float, Mapping[int, Sequence[float] | None]],
) -> Iterator[Reason]:
    if len({one.rate for arm in by.values() for one in arm.made}) > 1:
        text = f"the {name} was run at several learning rates, but starts are compared at one"
        yield Reason("unequal_tuning", text)
    seeds = {frozenset(side) for side in curves.values()}
    if len(seeds) > 1:
        text = f"the seeds of the {name} differ between values of {claim.along}"
        yield Reason("unequal_seeds", text)
    elif min(map(len, seeds), default=0) < 2:
        yield Reason("one_seed", f"the {name} has only one seed")
    if any(own is None for side in curves.values() for own in side.values()):
        text = f"the {name} lacks a finite logged loss at some of its first {UPDATES + 1} steps"
        yield Reason("no_score", f"{text} (use trainer.logging_steps=1)")


_Losses = Mapping[float, Mapping[int, Sequence[float]]]
"""Training loss before each update, from 0 to UPDATES, by value of the key and seed."""


def _losses(record: Record) -> list[float] | None:
    """Return the loss after 0 to UPDATES updates; a step's loss is logged before its update."""
    by = {int(p["step"]): float(p["loss"]) for p in record.curve if "loss" in p}
    found = [by.get(step, math.nan) for step in range(1, UPDATES + 2)]
    return found if all(map(math.isfinite, found)) else None


def _fall(curves: _Losses) -> float:
    falls = [own[0] - own[-1] for side in curves.values() for own in side.values()]
    return math.fsum(falls) / len(falls)


def _apart(curves: _Losses, fall: float, margin: float, base: _Spread) -> _Spread:
    """Return the verdict, and the interval of the step and arm with the largest difference."""
    last = max(curves)
    reference = curves[last]
    seeds = sorted(reference)
    pairs = [
        ([reference[s][k] / fall for s in seeds], [curves[n][s][k] / fall for s in seeds])
        for n in curves
        if n != last
        for k in range(1, UPDATES + 1)
    ]
    within = [statistics.paired_difference(a, b, confidence=1 - 2 * ALPHA) for a, b in pairs]
    shared = [statistics.paired_difference(a, b, confidence=1 - ALPHA / len(pairs))
              for a, b in pairs]  # fmt: skip
    widest, gaps = max(
        (
            (statistics.paired_difference(a, b), [y - x for x, y in zip(a, b, strict=True)])
            for a, b in pairs
        ),
        key=lambda one: abs(one[0].estimate),
    )
    word: Word = "undecided"
    if all(-margin < _end(one.low) and _end(one.high) < margin for one in within):
        word = "supported"
    elif any(_end(one.low) > margin or _end(one.high) < -margin for one in shared):
        word = "contradicted"
    needed = statistics.seeds_to_decide(widest.estimate, moments.stdev(gaps), margin)
    needed = None if needed is None else max(needed, len(seeds) + 1)
    return replace(base, word=word, widest=widest, needed=needed)


def _end(value: float | None) -> float:
    assert value is not None, "two seeds give an interval"
    return value
