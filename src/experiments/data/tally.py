"""Count what rendering leaves out of a source's rows, by reason and with examples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.config.chat_templates import shipped
from experiments.errors import DataError

FLAGGED = "flagged in the data as not to be trained"
EMPTY = "empty turn, without text or calls"
UNWRITTEN = "the chat template omits the turn"
TEXT_BESIDE_CALLS = "text next to calls, which the chat template omits"
REFUSED = "template_refused"
"""Key of refused rows in facts and examples."""
_EXAMPLES = 3


class RowRefused(DataError):
    """The chat template cannot render this row as training requires; other rows may be fine."""


@dataclass
class Tally:
    """Counts of one split."""

    not_trained: Counter[str] = field(default_factory=Counter)
    """Number of assistant turns that are context only, by reason."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Rows refused by the chat template."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Sentences on the first rows, by reason."""

    def leave(self, reason: str, row_id: str, turns: int = 1) -> None:
        """Count turns of a row that are not trained."""
        self.not_trained[reason] += turns
        self._note(reason, f"row {row_id}")

    def refuse(self, row: dict[str, Any], error: RowRefused) -> None:
        """Count a dropped row."""
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
    """Return the entries of the run record for the rows of a source.

    Args:
        tallies: tallies by split.
        rows: all rows passed to rendering, used to find categories without any row left.
        examples: examples of rows rejected earlier, by reason.
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


def common_reasons(rejected: Counter[str], examples: Mapping[str, list[str]]) -> str:
    """Describe the three most common reasons of rejected rows, each with its first example."""
    return "; ".join(
        f"{reason} ({count}, such as {examples[reason][0]})"
        for reason, count in rejected.most_common(3)
    )


def _gone(rows: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]]) -> list[str]:
    """Return the categories in which every row was refused."""
    given = Counter(str(row.get("category") or "") for row in rows)
    dropped = Counter(str(row.get("category") or "") for row in refused)
    return sorted(name for name, n in dropped.items() if name and given[name] == n)


def too_many_refused(found: dict[str, Any], share: float, where: str, key: str) -> str | None:
    """Return an error message if the template refuses too many rows, otherwise None.

    Args:
        found: the result of `facts`.
        share: accepted share of refused rows, 0 to 1.
        where: location of the rows.
        key: config key of that share.
    """
    refused, total = sum(found[REFUSED].values()), found["rows_rendered"]
    if refused <= share * total:
        return None
    return (
        f"{where}: the chat template refuses {refused} of {total} rows, more than {key}={share:g} "
        f"allows, such as {found['examples'][REFUSED][0].rstrip('.')}; {remedy()}, remove such "
        f"rows, or raise {key}."
    )


def lines(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return lines on what is not trained and why, with the first row for each reason.

    Args:
        name: name of the source.
        found: facts of the source.
    """
    shown = found.get("examples", {})
    said = []
    for reason, number in found.get("not_trained", {}).items():
        said.append(f"{name}: not trained, {reason}: {number:,}{_such_as(shown.get(reason))}")
    if refused := found.get(REFUSED):
        by_split = ", ".join(f"{split} {n:,}" for split, n in refused.items())
        dropped = f"{name}: dropped, refused by the chat template: {by_split}"
        said.append(f"{dropped}{_such_as(shown.get(REFUSED))}; to keep them, {remedy()}")
    if gone := found.get("categories_refused"):
        said.append(f"{name}: the template refuses every row of {', '.join(gone)}")
    if masked := found.get("fully_masked"):
        said.append(f"{name}: dropped, no trained token: {masked:,}")
    if unused := found.get("unused_columns"):
        columns = ", ".join(f"{column} ({n:,} rows)" for column, n in unused.items())
        said.append(f"{name}: unused columns: {columns}")
    if texts := found.get("completions_like_calls"):
        said.append(
            f"{name}: {texts:,} completions look like calls but are trained and scored as text; "
            "to train calls, use messages with tool_calls"
        )
    if stops := found.get("too_many_refused"):
        said.append(f"a run would stop here: {stops}")
    return said or [f"{name}: all assistant turns are trained"]


def _such_as(examples: Sequence[str] | None) -> str:
    return f", such as {examples[0].rstrip('.')}" if examples else ""


def remedy() -> str:
    """Return the setting to change if a chat template is not suitable.

    >>> remedy().startswith("set model.chat_template=")
    True
    """
    return f"set model.chat_template={'|'.join(shipped())} or a file of your own"
