"""Write verdicts on claims as a table, a Markdown page and a JSON file."""

import csv
import dataclasses
import io
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import records
from experiments.analysis import statistics
from experiments.analysis.claims.case import Effect
from experiments.analysis.claims.judging import ClaimVerdict
from experiments.reports import tables

_HEADER = (
    *("claim", "verdict", "family", "effect", "estimate with 95 % interval", "unit"),
    *("relative to the reference", "reference", "compared with", "n", "scope", "rule"),
)
_READING = (
    "Holds here, does not hold here: what the interval says about this setting, not about models "
    "of the size that the claim was made for. Unresolved: the data carry neither. A share of what "
    "fine-tuning gains decides nothing; a claim of a tie needs a margin in the unit of the score "
    "that was fixed before the runs."
)


def grid(verdicts: Sequence[ClaimVerdict]) -> tables.Grid:
    """Return a row per claim; `rule` is the start of the hash of the claim file."""
    return tables.Grid(list(_HEADER), [_row(one) for one in verdicts])


def text(verdicts: Sequence[ClaimVerdict], width: int, design: str = "") -> str:
    """Return the table, and what is said about each verdict, as plain text.

    Args:
        verdicts: the verdicts to show.
        width: of the terminal, in characters.
        design: hash of the frozen design; empty if there is none.
    """
    lines = [_READING, *_family(verdicts, design), *_notes(verdicts)]
    notes = [textwrap.fill(n, width, subsequent_indent="  ") for n in lines]
    return "\n\n".join([tables.aligned(grid(verdicts), width), "\n".join(notes)]) + "\n"


def write(verdicts: Sequence[ClaimVerdict], out: Path, design: str = "") -> list[Path]:
    """Write the table as README.md, claims.csv and claims.json; return their paths.

    Raises:
        RecordError: a file cannot be written.
    """
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([_HEADER, *map(_row, verdicts)])
    data = {"design": design or None, "claims": [_data(one) for one in verdicts]}
    content = {
        "README.md": _page(verdicts, design),
        "claims.csv": table.getvalue(),
        "claims.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n",
    }
    for name, written in content.items():
        records.write_atomically(out / name, written.encode(), advice="choose another --out")
    return [out / name for name in content]


def _page(verdicts: Sequence[ClaimVerdict], design: str) -> str:
    notes = [_READING, *_family(verdicts, design), *_notes(verdicts)]
    lines = [f"- {tables.escaped(note)}" for note in notes]
    parts = ["# Claims", tables.markdown(grid(verdicts)), "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _family(verdicts: Sequence[ClaimVerdict], design: str) -> Iterator[str]:
    """Yield how the verdicts are adjusted, how many may be false, and which design was frozen."""
    primary = [one.claim.number for one in verdicts if one.claim.primary]
    if primary:
        yield (
            f"Primary family: {', '.join(primary)}, adjusted by Holm over their verdicts at "
            f"{statistics.ALPHA:g}. All others are exploratory: their intervals are not adjusted."
        )
    tested = [one for one in verdicts if one.exploratory and _has_interval(one.effect)]
    if tested:
        expected = statistics.expected_false_verdicts(len(tested))
        yield (
            f"{len(tested)} exploratory claims were tested by an interval: up to {expected:.2g} "
            "false verdicts are expected among them."
        )
    if design:
        yield f"Frozen design: claims/design.json, {design}."


def _has_interval(effect: Effect | None) -> bool:
    return effect is not None and (effect.low is not None or effect.high is not None)


def _row(verdict: ClaimVerdict) -> list[str]:
    claim, effect = verdict.claim, verdict.effect
    words = "; ".join([verdict.word, *_beside(verdict)])
    family = "primary" if claim.primary else "exploratory" if verdict.exploratory else "-"
    shown = ["-"] * 6 if effect is None else _effect_cells(effect)
    rows = "" if effect is None or effect.rows is None else f" x {effect.rows} test rows"
    n = f"{verdict.seeds} seeds{rows}" if verdict.seeds and effect is not None else "-"
    label = f"{claim.number} {claim.id}"
    return [label, words, family, *shown, n, verdict.scope or "-", claim.sha256]


def _beside(verdict: ClaimVerdict) -> Iterator[str]:
    """Yield what must stand beside the word: a rule changed late, a size, a withdrawn test."""
    for words in verdict.qualifiers:
        if not words.startswith(("training loss of", "exploratory", "over seeds only")):
            yield words.partition(" (python -m")[0]


def _effect_cells(effect: Effect) -> list[str]:
    relative = "-" if effect.relative is None else f"{effect.relative:+.1%}"
    reference = "-" if effect.reference is None else f"{effect.reference:.3g}"
    return [effect.name, _number(effect), effect.unit, relative, reference, effect.allowed]


def _number(effect: Effect) -> str:
    if effect.low is None and effect.high is None:
        return f"{effect.estimate:.3g}"
    ends = ["?" if end is None else f"{end:.3g}" for end in (effect.low, effect.high)]
    return f"{effect.estimate:.3g} [{', '.join(ends)}]"


def _notes(verdicts: Sequence[ClaimVerdict]) -> Iterator[str]:
    for one in verdicts:
        number = one.claim.number
        limits = f" Limits: {one.claim.scope}." if one.claim.scope else ""
        yield f"{number}: {one.claim.sentence} ({one.claim.source}){limits}"
        for sentence in one.missing:
            yield f"{number} is {one.word}: {sentence}."
        for words in one.qualifiers:
            if words != "exploratory":
                yield f"{number}: {words}."
        if one.claim.margin is not None and one.claim.margin_source:
            yield f"{number}: margin {one.claim.margin:g}, {one.claim.margin_source}."
        if one.classes:
            yield f"{number} by token class, in nats per token: {'; '.join(one.classes)}."
        for place in one.cited:
            yield f"{number} elsewhere, {place.where}: {_cited(place.effect, place.seeds)}."


def _cited(effect: Effect, seeds: int) -> str:
    relative = (
        "" if effect.relative is None else f", {effect.relative:+.1%} of {effect.reference:.3g}"
    )
    rows = "" if effect.rows is None else f" x {effect.rows} test rows"
    return f"{_number(effect)} {effect.unit}{relative}, {seeds} seeds{rows}"


def _data(verdict: ClaimVerdict) -> dict[str, Any]:
    tree = dataclasses.asdict(verdict)
    if not verdict.claim.looks:
        del tree["claim"]["looks"]  # as in tables from before there were looks
    effects = [tree["effect"], *(one["effect"] for one in tree["cited"])]
    for effect in effects:
        for key, value in (effect or {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                effect[key] = None  # JSON has no infinity; the runs of the rule diverged
    return tree
