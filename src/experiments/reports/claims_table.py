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
from experiments.analysis.claims.case import Effect
from experiments.analysis.claims.judging import ClaimVerdict
from experiments.reports import tables

_HEADER = ("claim", "verdict", "effect", "estimate with 95 % interval", "allowed", "seeds", "file")
_READING = (
    "Intervals are per claim; p values are Holm-adjusted over all claims. Undecided means that the "
    "data support neither side."
)


def grid(verdicts: Sequence[ClaimVerdict]) -> tables.Grid:
    """Return a row per claim; `file` is the start of the hash of the claim file."""
    return tables.Grid(list(_HEADER), [_row(one) for one in verdicts])


def text(verdicts: Sequence[ClaimVerdict], width: int) -> str:
    """Return the table, and what is missing for each verdict, as plain text."""
    notes = [textwrap.fill(n, width, subsequent_indent="  ") for n in (_READING, *_notes(verdicts))]
    return "\n\n".join([tables.aligned(grid(verdicts), width), "\n".join(notes)]) + "\n"


def brief(verdicts: Sequence[ClaimVerdict]) -> str:
    """Return the tested claims as a Markdown table of sentence, verdict and estimate."""
    header = ["claim", "verdict on the embedded bases", "estimate with 95 % interval", "claimed"]
    rows = []
    for one in verdicts:
        if one.word != "not tested":
            effect = one.effect
            shown = ["-", "-"] if effect is None else [_number(effect), effect.allowed]
            rows.append([f"{one.claim.number} {one.claim.sentence}", one.word, *shown])
    rest = [one.claim.number for one in verdicts if one.word == "not tested"]
    note = f"Not tested: {', '.join(rest)}." if rest else ""
    return "\n\n".join(part for part in (tables.markdown(tables.Grid(header, rows)), note) if part)


def write(verdicts: Sequence[ClaimVerdict], out: Path) -> list[Path]:
    """Write the table as README.md, verdicts.md, claims.csv and claims.json; return their paths.

    Raises:
        RecordError: a file cannot be written.
    """
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([_HEADER, *map(_row, verdicts)])
    data = [_data(one) for one in verdicts]
    content = {
        "README.md": _page(verdicts),
        "verdicts.md": brief(verdicts) + "\n",
        "claims.csv": table.getvalue(),
        "claims.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n",
    }
    for name, written in content.items():
        records.write_atomically(out / name, written.encode(), advice="choose another --out")
    return [out / name for name in content]


def _page(verdicts: Sequence[ClaimVerdict]) -> str:
    lines = [f"- {tables.escaped(note)}" for note in (_READING, *_notes(verdicts))]
    parts = ["# Claims", tables.markdown(grid(verdicts)), "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _row(verdict: ClaimVerdict) -> list[str]:
    claim, effect = verdict.claim, verdict.effect
    shown = ("-", "-", "-") if effect is None else (effect.name, _number(effect), effect.allowed)
    label = f"{claim.number} {claim.id}"
    return [label, verdict.word, *shown, str(verdict.seeds or "-"), claim.sha256]


def _number(effect: Effect) -> str:
    if effect.low is None and effect.high is None:
        return f"{effect.estimate:.3g}"
    ends = ["?" if end is None else f"{end:.3g}" for end in (effect.low, effect.high)]
    return f"{effect.estimate:.3g} [{', '.join(ends)}]"


def _notes(verdicts: Sequence[ClaimVerdict]) -> Iterator[str]:
    for one in verdicts:
        scope = f" Tested with: {one.scope}." if one.scope else ""
        scope += f" Limits: {one.claim.scope}." if one.claim.scope else ""
        yield f"{one.claim.number}: {one.claim.sentence} ({one.claim.source}){scope}"
        for sentence in one.missing:
            yield f"{one.claim.number} is {one.word}: {sentence}."


def _data(verdict: ClaimVerdict) -> dict[str, Any]:
    tree = dataclasses.asdict(verdict)
    for key, value in (tree["effect"] or {}).items():
        if isinstance(value, float) and not math.isfinite(value):
            tree["effect"][key] = None  # JSON has no infinity; the runs of the rule diverged
    return tree
