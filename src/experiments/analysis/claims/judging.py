"""Judge claims from records: a verdict each, the effect behind it, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims import design as designs
from experiments.analysis.claims import gates, limits, looks
from experiments.analysis.claims.case import ALPHA, Effect, Judged, Verdict
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.design import FrozenDesign
from experiments.analysis.claims.gates import Gate
from experiments.analysis.claims.kinds import KINDS
from experiments.records import Record

Measured = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Cited:
    """The same effect at another place, which is printed and decides nothing."""

    where: str
    effect: Effect
    seeds: int


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim, with its effect and evidence."""

    claim: Claim
    word: Verdict
    effect: Effect | None = None
    seeds: int = 0
    scope: str = ""
    gates: tuple[Gate, ...] = ()
    missing: tuple[str, ...] = ()
    """Sentences on why there is no verdict and what would lead to one."""
    qualifiers: tuple[str, ...] = ()
    """What limits the word: exploratory, a rule changed after its first run, and so on."""
    needed: str | None = None
    """A sentence on how many seeds would decide; None if unknown or not needed."""
    p: float | None = None
    """p-value of the verdict that was taken, in the primary family adjusted by Holm."""
    classes: tuple[str, ...] = ()
    """The difference of a loss by token class, a sentence each."""
    cited: tuple[Cited, ...] = ()

    @property
    def exploratory(self) -> bool:
        """Whether the claim was tested outside the primary family."""
        return self.word != "not tested" and not self.claim.primary


def judge(
    claims: Sequence[Claim],
    records: Mapping[str, Sequence[Record]],
    measured: Measured | None = None,
    design: FrozenDesign | None = None,
) -> list[ClaimVerdict]:
    """Judge claims; the verdicts of the primary family are adjusted by Holm over that family.

    Args:
        claims: all claims of a table, whether or not each is shown.
        records: records by sweep; a missing sweep has none.
        measured: measurements of commands by name.
        design: the frozen design; None = nothing was frozen.
    """
    frozen = design or FrozenDesign()
    verdicts = [_verdict(claim, _judged(claim, records, measured), frozen) for claim in claims]
    cited = [replace(one, cited=tuple(_cited(one.claim, records))) for one in verdicts]
    family = iter(_family([one for one in cited if one.claim.primary]))
    return [next(family) if one.claim.primary else one for one in cited]


def _judged(
    claim: Claim, records: Mapping[str, Sequence[Record]], measured: Measured | None
) -> Judged:
    if claim.not_tested is not None:
        return Judged()
    kind = KINDS[claim.kind]
    if not kind.needs_sweep:
        return kind.judge(claim, (measured or {}).get(str(claim.measured), {}))
    if kind.needs_reference and claim.rule != "hidden_size" and not claim.reference:
        text = "the claim names one arm: give the reference that it is compared with"
        return Judged(reasons=(Reason("one_arm", text),))
    if claim.reference and claim.arm == claim.reference:
        return Judged(reasons=(Reason("one_arm", "arm and reference select the same arm"),))
    return kind.judge(claim, records.get(claim.sweep or "", ()))


def _cited(claim: Claim, records: Mapping[str, Sequence[Record]]) -> Iterator[Cited]:
    for place in claim.cited if claim.not_tested is None else ():
        other = replace(claim, **place)
        found = KINDS[claim.kind].judge(other, records.get(str(other.sweep), ()))
        if found.effect is not None:
            own = {key: value for key, value in place.items() if key != "sweep"}
            chosen = ", ".join(f"{k}={v}" for k, v in own.get("arm", {}).items())
            where = f"{other.sweep} ({chosen})" if chosen else str(other.sweep)
            yield Cited(where, found.effect, found.seeds or 0)


def _family(verdicts: Sequence[ClaimVerdict]) -> list[ClaimVerdict]:
    """Return the primary family with p-values adjusted over all its claims, decided or not."""
    adjusted = statistics.holm([1.0 if one.p is None else one.p for one in verdicts])
    found = []
    for one, p in zip(verdicts, adjusted, strict=True):
        decided = one.word in ("holds here", "does not hold here")
        if decided and p > ALPHA:
            missing = (*one.missing, f"p is {p:.2g} after Holm's adjustment over the family")
            found.append(replace(one, word="unresolved", missing=missing, p=None))
        else:
            found.append(replace(one, p=p if decided else None))
    return found


def _verdict(claim: Claim, judged: Judged, design: FrozenDesign) -> ClaimVerdict:
    if claim.not_tested is not None:
        beside = [w for w in designs.changes(design, claim, ()) if "not frozen" not in w]
        return ClaimVerdict(
            claim, "not tested", missing=(claim.not_tested,), qualifiers=tuple(beside)
        )
    checks = gates.check(claim.gates, judged.runs) if judged.effect or judged.runs else []
    untested = [g.text for g in checks if not g.passed and g.name in gates.UNTESTED_WITHOUT]
    scope = judged.scope or limits.scope(judged.runs)
    if untested and judged.runs:
        return ClaimVerdict(
            claim, "not tested", None, judged.seeds or 0, scope, tuple(checks), tuple(untested),
            (*designs.changes(design, claim, judged.runs), *_seen(claim)),
        )  # fmt: skip
    reasons = [*judged.reasons, *_few_seeds(claim, judged), *limits.other_machines(judged.runs)]
    reasons += [Reason("gate", f"precondition {g.name}: {g.text}") for g in checks if not g.passed]
    late = designs.late_rule(design, claim, judged.runs)
    reasons += [late] if late is not None and judged.word != "unresolved" else []
    blocked = arms.blocking(reasons)
    verdict: Verdict = "unresolved" if blocked else judged.word
    missing = [reason.text for reason in blocked]
    if verdict == "unresolved" and not blocked:
        missing.append(_undecidable(judged))
    taken = verdict != "unresolved"
    judged = replace(judged, qualifiers=()) if blocked else judged  # they are about another word
    return ClaimVerdict(
        claim, verdict, judged.effect, judged.seeds or 0, scope, tuple(checks), tuple(missing),
        tuple(dict.fromkeys(_qualifiers(claim, judged, design))),
        None if taken else judged.needed, judged.p if taken else None, judged.classes,
    )  # fmt: skip


def _qualifiers(claim: Claim, judged: Judged, design: FrozenDesign) -> Iterator[str]:
    if not claim.primary:
        yield "exploratory"
    yield from judged.qualifiers
    yield from designs.changes(design, claim, judged.runs)
    yield from _seen(claim)
    if claim.seeds_differ:
        yield f"only seeds that both arms have: {claim.seeds_differ}"
    if judged.runs and judged.effect is not None:
        yield from limits.still_falling(judged.runs)


def _seen(claim: Claim) -> Iterator[str]:
    if claim.seen:
        yield f"rule written after outcomes were seen: {claim.seen}"


def _undecidable(judged: Judged) -> str:
    effect = judged.effect
    if judged.seeds is None:
        return "some values are inside the allowed range and some outside"
    if judged.needed is not None:
        return judged.needed
    if effect is not None and (effect.low is None) != (effect.high is None):
        return (
            "the interval is open-ended, as resampled optima leave the fitted learning rates; more "
            "seeds would narrow it"
        )
    return "the interval includes both values at which the claim holds and at which it does not"


def _few_seeds(claim: Claim, judged: Judged) -> list[Reason]:
    least = looks.least_seeds(claim)
    if judged.seeds is None or not judged.runs or judged.seeds >= least:
        return []
    text = f"{judged.seeds} seeds at the best learning rates; {least} are required"
    return [Reason("few_seeds", text)]
