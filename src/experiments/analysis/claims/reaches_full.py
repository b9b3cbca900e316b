"""`reaches_full`: does the arm reach the loss that the reference had at 80 % of its steps?

Per seed, c = L_arm(T) - L_full(0.8 T), each at its own best learning rate, with T the number of
steps of all runs. Below 0, the arm needs fewer than 1 / 0.8 times the steps of the reference, which
is full fine-tuning. Where the reference no longer improves from 0.8 T to T, any arm reaches its
loss, and there is no verdict. Both losses were measured at those very steps (`eval.test_steps`),
never interpolated.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Arm, ArmRun, Contrast, Reason, Tuned
from experiments.analysis.claims import class_gaps, gates, looks, sides, units
from experiments.analysis.claims.case import (
    Effect,
    Judged,
    can_be_narrowed,
    may_differ,
    needed_text,
    with_decision,
)
from experiments.analysis.claims.claim import Claim
from experiments.analysis.statistics import MeanEstimate, NoiseFloor, RangeRule
from experiments.config import stated_steps
from experiments.records import Record

SHARE = 0.8
"""Share of the steps after which the reference is compared with the whole run of the arm."""
_RULE = RangeRule(None, 0.0)
_UNUSED = ("expects", "margin", "delta", "low", "high")


def problems(claim: Claim) -> Iterator[str]:
    """Yield a sentence for each invalid value."""
    parts = claim.score.split("/")
    if parts[0] == "validation" or "loss" not in parts[:2]:
        yield f"score={claim.score}: reaches_full compares a loss on test rows, such as loss/nll"
    for name in _UNUSED:
        if getattr(claim, name) is not None:
            yield f"{name}={getattr(claim, name)}: reaches_full does not use it; remove it"


def judge(claim: Claim, records: Sequence[Record]) -> Judged:
    """Compare the arm's loss at the end with the reference's at 80 % of the steps."""
    candidates = arms.read(records)
    reference, missing = _single_arm(claim, "reference", claim.reference, candidates)
    arm, more_missing = _single_arm(claim, "arm", claim.arm, candidates)
    tuned = [arms.tune(side) for side in (reference, arm) if side is not None]
    reasons = (*missing, *more_missing)
    partial = Judged(reasons=reasons, runs=sides.runs(tuned), seeds=sides.seeds(tuned))
    if reference is None or arm is None:
        return partial
    steps, unequal = _steps(tuned)
    if steps is None:
        own = [reason for side in tuned for reason in side.reasons]
        return replace(partial, reasons=(*own, *unequal))
    pairs = looks.tuned_pairs(claim, reference, arm)
    if lacking := [reason for pair in pairs for reason in _lacking(claim, *pair, steps)]:
        return replace(partial, reasons=tuple(dict.fromkeys(lacking)))
    floor = arms.repeats(records, claim.score)
    return _judged(claim, partial, [_compared(claim, *pair, steps, floor) for pair in pairs])


@dataclass(frozen=True)
class _Compared:
    """The two contrasts that decide, over the same seeds."""

    contrast: Contrast
    """The arm at the end minus the reference at the earlier step."""
    improvement: Contrast
    """The reference at the earlier step minus itself at the end."""


def _compared(
    claim: Claim, reference: Tuned, arm: Tuned, steps: int, floor: NoiseFloor | None
) -> _Compared:
    earlier, full = _at(reference, _earlier(steps)), _at(reference, steps)
    whole = _at(arm, steps)
    return _Compared(
        arms.contrast(earlier, whole, None, claim.score, may_differ(claim), floor),
        arms.contrast(full, earlier, None, claim.score),
    )


def _judged(claim: Claim, partial: Judged, found: Sequence[_Compared]) -> Judged:
    look = looks.first_reached(
        claim, [one.contrast for one in found], [one.improvement for one in found]
    )
    decides = found[-1 if look is None else look.index]
    contrast, improvement = decides.contrast, decides.improvement
    partial = replace(partial, reasons=(*contrast.reasons, *_not_constant(claim, partial.runs)))
    if contrast.estimate is None or improvement.estimate is None:
        return partial
    effect = _effect(claim, contrast, contrast.estimate)
    partial = replace(partial, effect=effect, seeds=contrast.estimate.seeds)
    judged = _decided(claim, partial, contrast.estimate, improvement.estimate)
    judged = judged if look is None else looks.with_look(claim, judged, look)
    pair = class_gaps.Weighted(1.0, contrast.reference, contrast.arm)
    return class_gaps.added(claim, judged, [pair], _RULE, alpha=looks.alpha(look))


def _earlier(steps: int) -> int:
    return stated_steps.resolved([SHARE], steps)[0]


def _single_arm(
    claim: Claim, name: str, selection: dict[str, Any], candidates: Sequence[Arm]
) -> tuple[Arm | None, tuple[Reason, ...]]:
    """Return the arm with the wanted values, of several the one that states `eval.test_steps`."""
    stated = [one for one in candidates if (one.config.get("eval") or {}).get("test_steps")]
    found, missing = sides.single_arm(claim, name, selection, stated)
    if found is not None:
        return found, missing
    return sides.single_arm(claim, name, selection, candidates)


def _steps(tuned: Sequence[Tuned]) -> tuple[int | None, list[Reason]]:
    """Return the number of steps T that all runs at the best learning rates have, or why none."""
    lengths = sorted(
        {int(run.record.plan.get("steps") or 0) for t in tuned for run in t.runs.values()}
    )
    if len(lengths) > 1:
        text = f"the runs have {' and '.join(map(str, lengths))} steps: give all the same number"
        return None, [Reason("unequal_steps", text)]
    if lengths and _earlier(lengths[0]) == lengths[0]:
        text = f"runs of {lengths[0]} steps have no earlier step at {SHARE:g} of them: run longer"
        return None, [Reason("unequal_steps", text)]
    return (lengths[0], []) if lengths else (None, [])


def _at(tuned: Tuned, step: int) -> Tuned:
    """Return an arm with the scores that its runs had at a step."""
    runs = tuple(_run_at(run, step) for run in tuned.arm.runs)
    return replace(tuned, arm=replace(tuned.arm, runs=runs))


def _run_at(run: ArmRun, step: int) -> ArmRun:
    steps, config = int(run.record.plan.get("steps") or 0), run.record.config
    if step == steps and (config.get("trainer") or {}).get("select", "last") == "last":
        return run
    stated = stated_steps.resolved((config.get("eval") or {}).get("test_steps"), steps)
    curve = run.record.test_curve if step in stated else []
    point = next((one for one in curve if one["step"] == step), {})
    return replace(run, scores={k: v for k, v in point.items() if k != "step"}, step=step)


def _lacking(claim: Claim, reference: Tuned, arm: Tuned, steps: int) -> Iterator[Reason]:
    """Yield a reason with what to run if runs lack a loss at the end or at the earlier step."""
    for name, tuned, step in (
        ("reference", reference, _earlier(steps)),
        ("reference", reference, steps),
        ("arm", arm, steps),
    ):
        at = _at(tuned, step)
        lacking = len(at.runs) - len(at.final(claim.score))
        if lacking:
            early = step < steps
            stated = f"[{SHARE:g}]" if early else f"[{SHARE:g},{steps}]"
            where = f"step {step}, {SHARE:g} of {steps}" if early else f"the last step, {steps}"
            text = (
                f"{lacking} of {len(at.runs)} runs of the {name} lack {claim.score} at {where}: "
                f"run python train.py -m sweeps={claim.sweep} 'eval.test_steps={stated}'"
            )
            yield Reason("no_score", text)


def _not_constant(claim: Claim, runs: Sequence[Record]) -> Iterator[Reason]:
    problem = gates.constant_rate(runs)
    if problem is not None and "constant_rate" not in claim.gates:  # else it is named as a gate
        text = f"{problem}: the loss at an earlier step is that of a shorter run only if constant"
        yield Reason("gate", text)


def _decided(
    claim: Claim, partial: Judged, contrast: MeanEstimate, improvement: MeanEstimate
) -> Judged:
    found = statistics.reaches_full(contrast, improvement)
    if statistics.decide(improvement, RangeRule(0.0, None)).word != statistics.HOLDS:
        flat = _flat(improvement)
        return with_decision(claim, replace(partial, reasons=(*partial.reasons, flat)), contrast,
                             replace(found, qualifier=""), None)  # fmt: skip
    needed = None
    if found.word == statistics.UNRESOLVED and can_be_narrowed(contrast):
        seeds = statistics.seeds_needed(_RULE, contrast, -improvement.estimate)
        needed = needed_text(seeds, "the arm equalled the reference at every step")
    return with_decision(claim, partial, contrast, found, needed)


def _flat(improvement: MeanEstimate) -> Reason:
    interval = improvement.interval()
    low, high = (math.nan if end is None else end for end in (interval.low, interval.high))
    text = (
        f"the reference's loss falls by {interval.estimate:.3g} [{low:.3g}, {high:.3g}] from "
        f"{SHARE:g} of the steps to the end, which may be nothing: any arm reaches such a loss"
    )
    return Reason("flat_reference", text)


def _effect(claim: Claim, contrast: Contrast, estimate: MeanEstimate) -> Effect:
    interval = estimate.interval()
    scores = contrast.reference.final(claim.score).values()
    return Effect(
        f"{claim.score}, arm at the end - reference at {SHARE:g} of the steps",
        interval.estimate,
        interval.low,
        interval.high,
        "below 0",
        units.of_score(claim.score),
        math.fsum(scores) / len(scores),
        estimate.rows,
    )
