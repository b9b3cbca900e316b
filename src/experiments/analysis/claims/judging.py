"""Judge claims from records: a verdict each, the effect behind it, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.analysis import arms, statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims import gates
from experiments.analysis.claims.case import ALPHA, Effect, Judged, Verdict
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.gates import Gate
from experiments.analysis.claims.kinds import KINDS
from experiments.records import Record

_TINY_PARAMETERS = 100_000_000
"""Models with fewer parameters can show that an effect exists, not that the claim is true."""


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
    seeds_to_decide: int | None = None
    """Total number of seeds that would probably decide; None if unknown or not needed."""
    p_adjusted: float | None = None
    """p-value of a difference, adjusted by Holm over all claims; None without such a test."""


def judge(
    claims: Sequence[Claim],
    records: Mapping[str, Sequence[Record]],
    measured: Mapping[str, dict[str, Any]] | None = None,
) -> list[ClaimVerdict]:
    """Judge claims as one family: p-values of differences are adjusted by Holm over all of them.

    Args:
        claims: all claims of a table, whether or not each is shown.
        records: records by sweep; a missing sweep has none.
        measured: measurements of commands by name.
    """
    judged = []
    for claim in claims:
        if claim.not_tested is not None:
            judged.append(Judged())
        elif KINDS[claim.kind].needs_sweep:
            judged.append(KINDS[claim.kind].judge(claim, records.get(claim.sweep or "", ())))
        else:
            judged.append(
                KINDS[claim.kind].judge(claim, (measured or {}).get(str(claim.measured), {}))
            )
    adjusted = iter(statistics.holm([result.p for result in judged if result.p is not None]))
    p_values = [None if result.p is None else next(adjusted) for result in judged]
    return [_verdict(*case) for case in zip(claims, judged, p_values, strict=True)]


def _verdict(claim: Claim, judged: Judged, p: float | None) -> ClaimVerdict:
    if claim.not_tested is not None:
        return ClaimVerdict(claim, "not tested", missing=(claim.not_tested,))
    checks = gates.check(claim.gates, judged.runs) if judged.effect or judged.runs else []
    reasons = [*judged.reasons, *_few_seeds(claim, judged)]
    reasons += [Reason("gate", f"precondition {g.name}: {g.text}") for g in checks if not g.passed]
    blocked = arms.blocking(reasons)
    insignificant = (
        judged.rests_on_p and p is not None and p >= ALPHA and judged.word != "undecided"
    )
    verdict: Verdict = "undecided" if blocked or insignificant else judged.word
    undecided, needed = verdict == "undecided", judged.needed
    missing = [reason.text for reason in blocked]
    if insignificant and not blocked:
        missing.append(f"p is {p:.2g} after Holm adjustment over all claims")
    if undecided and needed is not None and not blocked:
        missing.append(f"a verdict would take about {needed} seeds in total")
    elif undecided and not (blocked or insignificant):
        missing.append(_undecidable(judged))
    scope = judged.scope or _scope(judged.runs)
    return ClaimVerdict(claim, verdict, judged.effect, judged.seeds or 0, scope, tuple(checks),
                   tuple(missing), needed if undecided else None, p)  # fmt: skip


def _undecidable(judged: Judged) -> str:
    effect = judged.effect
    if judged.seeds is None:
        return "some values are inside the allowed range and some outside"
    if effect is not None and effect.low is None and effect.high is None:
        return "the estimate neither supports nor contradicts the claim; more seeds may settle it"
    if effect is not None and (effect.low is None or effect.high is None):
        return (
            "the interval is open-ended, as resampled optima leave the fitted learning rates; more "
            "seeds would narrow it"
        )
    most = statistics.MOST_SEEDS
    return f"a verdict would take more than {most} seeds, as the effect is close to the margin"


def _few_seeds(claim: Claim, judged: Judged) -> list[Reason]:
    if judged.seeds is None or not judged.runs or judged.seeds >= claim.seeds:
        return []
    text = f"{judged.seeds} seeds at the best learning rates; {claim.seeds} are required"
    return [Reason("few_seeds", text)]


def _scope(runs: Sequence[Record]) -> str:
    """Describe the scope of a verdict; a small model on a CPU shows a mechanism, not the claim."""
    if not runs:
        return ""
    first = runs[0]
    model = first.config.get("model") or {}
    tiny = int(first.model.get("parameters") or 0) < _TINY_PARAMETERS or bool(model.get("embedded"))
    batches = _distinct(runs, lambda r: (r.config.get("trainer") or {}).get("batch_size"))
    schedule = _distinct(runs, lambda r: (r.config.get("trainer") or {}).get("lr_scheduler_type"))
    parts = [
        *(["mechanism (tiny model)"] if tiny else []),
        _distinct(runs, lambda r: (r.config.get("model") or {}).get("label")),
        f"{_distinct(runs, lambda r: r.plan.get('steps'))} steps of {batches} rows",
        f"{schedule} learning rate",
        f"{first.identity.get('precision')} on {first.identity.get('device_class')}",
    ]
    return ", ".join(parts)


def _distinct(runs: Sequence[Record], read_value: Any) -> str:
    """Return the distinct values of the runs, numbers in ascending order, such as `8/32/80`."""
    values = list(dict.fromkeys(read_value(run) for run in runs))
    numbers = all(isinstance(value, int | float) for value in values)
    return "/".join(map(str, sorted(values) if numbers else values))
