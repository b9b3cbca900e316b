"""What rendering leaves out of a source's rows: counted by reason, with the first rows of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.config.chat_templates import shipped
from experiments.errors import DataError

FLAGGED = "flagged in the data as not to be trained"
EMPTY = "empty turn: it has neither text nor calls"
UNWRITTEN = "the chat template writes nothing of the turn"
TEXT_BESIDE_CALLS = "text beside calls, which the chat template leaves out"
REFUSED = "template_refused"
"""The key of refused rows in facts and examples."""
_EXAMPLES = 3


class RowRefused(DataError):
    """The chat template cannot render this row as it must be trained; others may be fine."""


@dataclass
class Tally:
    """Counts of one split."""

    not_trained: Counter[str] = field(default_factory=Counter)
    """Reason -> turns of the assistant that are in the context and not trained."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Rows that the template refuses."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the first rows, as sentences."""

    def leave(self, reason: str, row_id: str, turns: int = 1) -> None:
        """Count turns of a row that are not trained."""
        self.not_trained[reason] += turns
        self._note(reason, f"row {row_id}")

    def refuse(self, row: dict[str, Any], error: RowRefused) -> None:
        """Count a row that is dropped."""
        self.refused.append(row)
        self._note(REFUSED, str(error))

    def _note(self, reason: str, example: str) -> None:
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES and example not in shown:
            shown.append(example)


def facts(
    tallies: Mapping[str, Tally],
    rows: Sequence[dict[str, Any]],
    examples: Mapping[str, list[str]],
) -> dict[str, Any]:
    """Return what a record says of the rows of a source.

    Args:
        tallies: of each split.
        rows: all rows that were to be rendered, for the categories of which none is left.
        examples: of the reasons for which rows were rejected before.
    """
    not_trained: Counter[str] = Counter()
    shown = {reason: list(found) for reason, found in examples.items()}
    for one in tallies.values():
        not_trained.update(one.not_trained)
        for reason, found in one.examples.items():
            shown[reason] = [*shown.get(reason, []), *found][:_EXAMPLES]
    refused = [row for one in tallies.values() for row in one.refused]
    return {
        "rows_rendered": len(rows),
        "not_trained": dict(not_trained),
        REFUSED: {split: len(one.refused) for split, one in tallies.items() if one.refused},
        "categories_refused": _gone(rows, refused),
        "examples": shown,
    }


def _gone(rows: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]]) -> list[str]:
    """Return the categories of which every row was refused."""
    given = Counter(str(row.get("category") or "") for row in rows)
    dropped = Counter(str(row.get("category") or "") for row in refused)
    return sorted(name for name, n in dropped.items() if name and given[name] == n)


def too_many_refused(found: dict[str, Any], share: float, where: str, key: str) -> str | None:
    """Return the sentence on a template that refuses too many rows, None where it does not.

    Args:
        found: what `facts` returned.
        share: of the rows that may be refused, 0 to 1.
        where: the rows stand.
        key: of that share in the config.
    """
    refused, total = sum(found[REFUSED].values()), found["rows_rendered"]
    if refused <= share * total:
        return None
    return (
        f"{where}: the chat template refuses {refused} of {total} rows, more than {key}={share:g} "
        f"allows, such as {found['examples'][REFUSED][0].rstrip('.')}; {remedy()}, leave such "
        f"rows out, or raise {key}."
    )


def lines(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return lines on what is not trained and why, with the first row of each reason.

    Args:
        name: of the source.
        found: its facts.
    """
    shown = found.get("examples", {})
    said = []
    for reason, number in found.get("not_trained", {}).items():
        said.append(f"{name}: not trained, {reason}: {number:,}{_such_as(shown.get(reason))}")
    if refused := found.get(REFUSED):
        by_split = ", ".join(f"{split} {n:,}" for split, n in refused.items())
        dropped = f"{name}: refused by the chat template: {by_split}"
        said.append(f"{dropped}{_such_as(shown.get(REFUSED))}; to have them, {remedy()}")
    if gone := found.get("categories_refused"):
        said.append(f"{name}: no row is left of {', '.join(gone)}, which the template refuses")
    if masked := found.get("fully_masked"):
        said.append(f"{name}: dropped, nothing of the row is trained: {masked:,}")
    if unused := found.get("unused_columns"):
        columns = ", ".join(f"{column} ({n:,} rows)" for column, n in unused.items())
        said.append(f"{name}: columns that are not used: {columns}")
    if texts := found.get("completions_like_calls"):
        said.append(
            f"{name}: {texts:,} completions look like calls and are trained and scored as text; "
            "to have them as calls, write messages with tool_calls"
        )
    if stops := found.get("too_many_refused"):
        said.append(f"a run stops here: {stops}")
    return said or [f"{name}: every turn of the assistant is trained"]


def _such_as(examples: Sequence[str] | None) -> str:
    return f", such as {examples[0].rstrip('.')}" if examples else ""


def remedy() -> str:
    """Return what to set where a template does not do.

    >>> remedy().startswith("set model.chat_template=")
    True
    """
    return f"set model.chat_template={'|'.join(shipped())} or to a file of your own"
