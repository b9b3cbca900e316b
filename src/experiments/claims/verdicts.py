"""A claim and records in, a verdict out: one word, the effect behind it, and what is missing."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments import arms, statistics
from experiments.arms import Arm, Contrast, Reason, Tuned
from experiments.claims import gates
from experiments.claims.files import Claim
from experiments.claims.gates import Gate
from experiments.records import Record
from experiments.statistics import Interval

Word = Literal["supported", "contradicted", "undecided", "not tested"]

_TINY = 100_000_000
"""Models with fewer parameters show that an effect exists, not that the claim holds."""
_OPPOSITE = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Effect:
    """The number that a claim is about."""

    name: str
    estimate: float
    low: float | None
    """95 % interval; None = open."""
    high: float | None
    allowed: str
    """What it is held against, in words."""


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim."""

    claim: Claim
    word: Word
    effect: Effect | None = None
    seeds: int = 0
    scope: str = ""
    gates: tuple[Gate, ...] = ()
    missing: tuple[str, ...] = ()
    """Sentences: why there is no verdict, and what would give one."""
    seeds_to_decide: int | None = None
    """Seeds in all that would probably decide; None where that is not known or not needed."""


@dataclass(frozen=True)
class _Case:
    """A claim with its arms, as far as they are there."""

    claim: Claim
    arm: Tuned | None
    reference: Tuned | None
    reasons: tuple[Reason, ...]
    contrast: Contrast | None = None

    @property
    def tuned(self) -> list[Tuned]:
        return [one for one in (self.reference, self.arm) if one is not None]


def judge(claims: Sequence[Claim], found: Mapping[str, Sequence[Record]]) -> list[Verdict]:
    """Judge claims as one family: p values of differences are adjusted by Holm over all of them.

    Args:
        claims: all claims of a table, whether or not each is shown.
        found: sweep -> its records; a sweep that is not there has none.
    """
    cases = [_case(claim, found.get(claim.sweep or "", ())) for claim in claims]
    compared = [case for case in cases if case.contrast is not None]
    adjusted = iter(arms.family([case.contrast for case in compared if case.contrast]))
    cases = [
        dataclasses.replace(case, contrast=next(adjusted)) if case.contrast else case
        for case in cases
    ]
    return [_verdict(case) for case in cases]


def _case(claim: Claim, found: Sequence[Record]) -> _Case:
    if claim.not_tested is not None:
        return _Case(claim, None, None, ())
    read = arms.read(found)
    sides: list[Tuned | None] = []
    reasons = []
    for name, wanted in (("arm", claim.arm), ("reference", claim.reference)):
        fitting = [one for one in read if _has(one, wanted)]
        if name == "reference" and not wanted:
            sides.append(None)
        elif len(fitting) == 1:
            sides.append(arms.tune(fitting[0]))
        else:
            sides.append(None)
            reasons.append(_not_one(claim, name, wanted, fitting))
    arm, reference = sides
    case = _Case(claim, arm, reference, tuple(reasons))
    if claim.kind == "difference" and arm is not None and reference is not None:
        margin = arms.gain_margin(reference, claim.score, claim.margin or 0)
        floor = arms.repeats(found, claim.score)
        compared = arms.contrast(reference, arm, margin, claim.score, claim.may_differ, floor)
        case = dataclasses.replace(case, contrast=compared)
    return case


def _has(arm: Arm, wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        node: Any = arm.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node != value:
            return False
    return True


def _not_one(claim: Claim, name: str, wanted: Mapping[str, Any], fitting: Sequence[Arm]) -> Reason:
    what = ", ".join(f"{key}={value}" for key, value in wanted.items())
    if not fitting:
        line = f"python train.py -m sweeps={claim.sweep}"
        return Reason("no_arm", f"no run of the {name} ({what}) is finished: {line}")
    labels = "; ".join(one.label for one in fitting)
    text = f"{len(fitting)} arms are {what} ({labels}): name more keys under {name} in its file"
    return Reason("no_arm", text)


def _verdict(case: _Case) -> Verdict:
    claim = case.claim
    if claim.not_tested is not None:
        return Verdict(claim, "not tested", missing=(claim.not_tested,))
    checked = gates.check(claim.gates, case.tuned) if not case.reasons else []
    effect, word, needed, own = _JUDGES[claim.kind](case)
    reasons = [*case.reasons, *own, *_few_seeds(case)]
    reasons += [Reason("gate", f"gate {g.name}: {g.text}") for g in checked if not g.passed]
    reasons = [r for r in reasons if r.code not in claim.may_differ]
    blocked = arms.blocking(reasons)
    word = "undecided" if blocked else word
    missing = [reason.text for reason in blocked]
    if word == "undecided" and needed is not None and not blocked:
        missing.append(f"about {needed} seeds in all would decide")
    elif word == "undecided" and not blocked:
        missing.append(_undecidable(effect))
    seeds = min((len(one.runs) for one in case.tuned), default=0)
    scope, wanted = _scope(case.tuned), needed if word == "undecided" else None
    return Verdict(claim, word, effect, seeds, scope, tuple(checked), tuple(missing), wanted)


def _undecidable(effect: Effect | None) -> str:
    if effect is not None and (effect.low is None or effect.high is None):
        return "the interval is open: resampled optima leave the fitted rates; more seeds narrow it"
    return (
        f"more than {statistics.MOST_SEEDS} seeds would be needed, as the effect is at the margin"
    )


_Judged = tuple[Effect | None, Word, int | None, Sequence[Reason]]


def _difference(case: _Case) -> _Judged:
    contrast, claim = case.contrast, case.claim
    if contrast is None:
        return None, "undecided", None, ()
    compared = contrast.comparison
    if compared is None:
        return None, "undecided", None, contrast.reasons
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
    word: Word = "undecided"
    if contrast.finding == claim.expects:
        word = "supported"
    elif claim.expects == "tied":
        word = _outside(gap, compared.margin)
    elif contrast.finding in ("tied", _OPPOSITE[str(claim.expects)]):
        word = "contradicted"
    return effect, word, needed, contrast.reasons


def _outside(gap: Interval, margin: float) -> Word:
    """A tie is contradicted where the whole interval lies beyond the margin."""
    if gap.low is None or gap.high is None:
        return "undecided"
    return "contradicted" if gap.low > margin or gap.high < -margin else "undecided"


def _rate_ratio(case: _Case) -> _Judged:
    claim = case.claim
    if case.arm is None or case.reference is None:
        return None, "undecided", None, ()
    reasons = [*case.arm.reasons, *case.reference.reasons]
    reasons += arms.equal_tuning([case.reference, case.arm])
    found = arms.rate_ratio(case.arm.losses(), case.reference.losses())
    if found is None:
        text = "one of the arms has no optimum between its rates"
        return None, "undecided", None, [*reasons, Reason("flat_curve", text)]
    assert claim.low is not None and claim.high is not None, "load checks it"
    allowed = f"{claim.low:g} to {claim.high:g}"
    effect = Effect("ratio of best rates", found.estimate, found.low, found.high, allowed)
    word = _inside(found.low, found.high, claim.low, claim.high)
    return effect, word, _seeds_for_ratio(found, claim.low, claim.high), reasons


def _seeds_for_ratio(found: arms.Optimum, low: float, high: float) -> int | None:
    """Return the seeds at which the interval would be clear of the nearest allowed end.

    The width of an interval falls with the root of the number of seeds.
    """
    if found.low is None or found.high is None:
        return None
    half = math.log10(found.high / found.low) / 2
    distance = min(abs(math.log10(found.estimate / end)) for end in (low, high))
    needed = found.seeds * (half / distance) ** 2 if distance > 0 else math.inf
    return None if needed > statistics.MOST_SEEDS else max(found.seeds + 1, math.ceil(needed))


def _rule_regret(case: _Case) -> _Judged:
    claim, tuned = case.claim, case.arm
    if tuned is None or tuned.best is None or (claim.reference and case.reference is None):
        return None, "undecided", None, tuned.reasons if tuned else ()
    reasons = [*tuned.reasons, *(case.reference.reasons if case.reference else ())]
    rate = _rule_rate(case)
    if rate is None:
        text = "the reference has no best rate that the rule could start from"
        return None, "undecided", None, [*reasons, Reason("flat_curve", text)]
    found = arms.regret(tuned, rate)
    reasons += found.reasons
    assert claim.margin is not None, "load checks it"
    allowed = f"below {claim.margin:.2%} of the lowest loss"
    name = f"regret of {rate:.3g}"
    if 0 < found.seeds < claim.seeds:
        text = f"{found.seeds} of {claim.seeds} seeds were run around the rule's rate {rate:.3g}"
        reasons.append(Reason("few_seeds", text))
    if found.relative is None or found.nats is None:
        worst = None if found.relative is None else Effect(name, math.inf, None, None, allowed)
        return worst, "contradicted" if worst else "undecided", None, reasons
    lowest = found.nats.estimate / found.relative if found.relative else 1.0
    low, high = (None if e is None else e / lowest for e in (found.nats.low, found.nats.high))
    effect = Effect(name, found.relative, low, high, allowed)
    word = _inside(low, high, -math.inf, claim.margin)
    return effect, word, None, reasons


def _rule_rate(case: _Case) -> float | None:
    claim = case.claim
    if claim.rule == "hidden_size":
        method: Literal["lora", "full"] = (
            "full" if claim.arm.get("lora.method") == "none" else "lora"
        )
        return arms.hidden_size_rate(int(claim.hidden or 0), str(claim.family), method)
    reference = case.reference
    if reference is None or reference.best is None:
        return None
    found = reference.optimum
    return arms.ten_times(reference.best if found is None else found.estimate)


def _inside(low: float | None, high: float | None, first: float, last: float) -> Word:
    """Hold an interval against an allowed range: inside, outside, or across an end."""
    if low is not None and high is not None and first <= low and high <= last:
        return "supported"
    if (low is not None and low > last) or (high is not None and high < first):
        return "contradicted"
    return "undecided"


_JUDGES = {"difference": _difference, "rate_ratio": _rate_ratio, "rule_regret": _rule_regret}


def _few_seeds(case: _Case) -> list[Reason]:
    least = min((len(one.runs) for one in case.tuned), default=case.claim.seeds)
    if least >= case.claim.seeds:
        return []
    return [Reason("few_seeds", f"{least} seeds at the best rates, {case.claim.seeds} are needed")]


def _scope(tuned: Sequence[Tuned]) -> str:
    """Say what the verdict holds for; a small model on a CPU shows a mechanism, not the claim."""
    runs = [made.record for one in tuned for made in one.runs.values()]
    if not runs:
        return ""
    first = runs[0]
    model, trainer = first.config.get("model") or {}, first.config.get("trainer") or {}
    device = first.identity.get("device_class")
    tiny = int(first.model.get("parameters") or 0) < _TINY or bool(model.get("embedded"))
    parts = [
        *(["mechanism (tiny model)"] if tiny else []),
        str(model.get("label")),
        f"{first.plan.get('steps')} steps of {trainer.get('batch_size')} rows",
        f"{trainer.get('lr_schedule')} rate",
        f"{first.identity.get('precision')} on {device}",
    ]
    return ", ".join(parts)
