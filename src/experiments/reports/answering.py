"""Sentences on the thinking mode that models were evaluated in and how their answers ended."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.records import Record
from experiments.toolcalls.parser import forms

_MANY = 0.01
"""Share of cut-off answers above which the token budget may have decided the scores."""


def write(finished: Sequence[Record]) -> Iterator[str]:
    """Yield the thinking mode of the evaluation and the share of answers that was cut off.

    Records without answers, and those of versions that did not store the mode, are ignored.
    """
    finished = [record for record in finished if are_scored(record)]
    said = {
        kind: [facts for r in finished if "asked" in (facts := r.evaluation.get(kind) or {})]
        for kind in ("base", "tuned")
    }
    every = [facts for of_kind in said.values() for facts in of_kind]
    if not every:
        return
    yield _asked(every)
    counts = {kind: _cut(of_kind) for kind, of_kind in said.items() if of_kind}
    counts = {kind: (cut, answers) for kind, (cut, answers) in counts.items() if answers}
    if not counts:
        return
    told = ", ".join(
        f"{kind} {cut:,} of {answers:,} ({cut / answers:.1%})"
        for kind, (cut, answers) in counts.items()
    )
    yield f"Answers cut off at eval.max_new_tokens or the model's context length: {told}."
    many = [kind for kind, (cut, answers) in counts.items() if cut > _MANY * answers]
    if many:
        longest = max(max(facts["max_new_tokens"].values(), default=0) for facts in every)
        yield (
            f"Warning: more than {_MANY:.0%} of the answers of {' and '.join(many)} were cut off "
            f"and are scored as they are: raise eval.max_new_tokens above {longest:,}, or inspect "
            "these answers."
        )


def are_scored(record: Record) -> bool:
    """Return whether a run's answers are scored, and not only its losses."""
    return (record.config.get("eval") or {}).get("metrics") != []


def of_run(record: Record, kind: str) -> str | None:
    """Return a line on how one model of a run was prompted and how its answers are parsed.

    None if the model generated no answers.
    """
    facts = record.evaluation.get(kind)
    if not facts:
        return None
    way = _way(facts["asked"]) if "asked" in facts else "as_data (mode not recorded)"
    return f"thinking in answers: {way}; {forms.describe(_form(record))}"


def _form(record: Record) -> dict[str, Any] | None:
    """Return the tool-call format of a record; records without the key predate the setting."""
    if "call_form" in record.data:
        return record.data["call_form"] or None
    return forms.HERMES_TAGS.facts()


def _asked(every: Sequence[dict[str, Any]]) -> str:
    ways = Counter(_way(facts["asked"]) for facts in every)
    if len(ways) == 1:
        return f"Thinking in answers: {next(iter(ways))}."
    told = "; ".join(f"{way}: {count} scored models" for way, count in sorted(ways.items()))
    return f"Thinking in answers: {told}."


def _way(how: dict[str, str | None]) -> str:
    """Describe a thinking mode in a few words.

    >>> _way({"thinking": "off", "given": "enable_thinking=false", "switch": "enable_thinking"})
    'off (enable_thinking=false)'
    """
    if how["given"]:
        return f"{how['thinking']} ({how['given']})"
    return f"{how['thinking']}{'' if how['switch'] else ' (the chat template has no switch)'}"


def _cut(of_kind: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Return the number of answers that were cut off, and the number of all answers."""
    reasons: Counter[str] = Counter()
    for facts in of_kind:
        for counted in (facts.get("stop_reasons") or {}).values():
            reasons.update(counted)
    return reasons.total() - reasons["end_token"], reasons.total()
