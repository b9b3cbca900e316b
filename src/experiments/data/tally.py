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
_MAX_EXAMPLES = 3


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
        self._note_example(reason, f"row {row_id}")

    def refuse(self, row: dict[str, Any], error: RowRefused) -> None:
        """Count a dropped row."""
        self.refused.append(row)
        self._note_example(REFUSED, str(error))

    def _note_example(self, reason: str, example: str) -> None:
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _MAX_EXAMPLES and example not in examples:
            examples.append(example)


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
    first_examples = {reason: list(reason_examples) for reason, reason_examples in examples.items()}
    for tally in tallies.values():
        not_trained.update(tally.not_trained)
        for reason, reason_examples in tally.examples.items():
            first_examples[reason] = [*first_examples.get(reason, []), *reason_examples][
                :_MAX_EXAMPLES
            ]
    refused = [row for tally in tallies.values() for row in tally.refused]
    return {
        "rows_rendered": len(rows),
        "not_trained": dict(not_trained),
        REFUSED: {split: len(tally.refused) for split, tally in tallies.items() if tally.refused},
        "categories_refused": _fully_refused_categories(rows, refused),
        "examples": first_examples,
    }


def common_reasons(rejected: Counter[str], examples: Mapping[str, list[str]]) -> str:
    """Describe the three most common reasons of rejected rows, each with its first example."""
    return "; ".join(
        f"{reason} ({count}, such as {examples[reason][0]})"
        for reason, count in rejected.most_common(3)
    )


def _fully_refused_categories(
    rows: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]]
) -> list[str]:
    """Return the categories in which every row was refused."""
    row_counts = Counter(str(row.get("category") or "") for row in rows)
    refused_counts = Counter(str(row.get("category") or "") for row in refused)
    return sorted(name for name, n in refused_counts.items() if name and row_counts[name] == n)


def too_many_refused(
    source_facts: dict[str, Any], share: float, where: str, key: str
) -> str | None:
    """Return an error message if the template refuses too many rows, otherwise None.

    Args:
        source_facts: the result of `facts`.
        share: accepted share of refused rows, 0 to 1.
        where: location of the rows.
        key: config key of that share.
    """
    refused, total = sum(source_facts[REFUSED].values()), source_facts["rows_rendered"]
    if refused <= share * total:
        return None
    return (
        f"{where}: the chat template refuses {refused} of {total} rows, more than {key}={share:g} "
        f"allows, such as {source_facts['examples'][REFUSED][0].rstrip('.')}; {remedy()}, remove "
        f"such rows, or raise {key}."
    )


def lines(name: str, source_facts: Mapping[str, Any]) -> list[str]:
    """Return lines on what is not trained and why, with the first row for each reason.

    Args:
        name: name of the source.
        source_facts: facts of the source.
    """
    examples = source_facts.get("examples", {})
    descriptions = []
    for reason, number in source_facts.get("not_trained", {}).items():
        descriptions.append(
            f"{name}: not trained, {reason}: {number:,}{_such_as(examples.get(reason))}"
        )
    if refused := source_facts.get(REFUSED):
        by_split = ", ".join(f"{split} {n:,}" for split, n in refused.items())
        prefix = f"{name}: dropped, refused by the chat template: {by_split}"
        descriptions.append(f"{prefix}{_such_as(examples.get(REFUSED))}; to keep them, {remedy()}")
    if categories := source_facts.get("categories_refused"):
        descriptions.append(f"{name}: the template refuses every row of {', '.join(categories)}")
    if fully_masked := source_facts.get("fully_masked"):
        descriptions.append(f"{name}: dropped, no trained token: {fully_masked:,}")
    if unused := source_facts.get("unused_columns"):
        columns = ", ".join(f"{column} ({n:,} rows)" for column, n in unused.items())
        descriptions.append(f"{name}: unused columns: {columns}")
    if call_like := source_facts.get("completions_like_calls"):
        descriptions.append(
            f"{name}: {call_like:,} completions look like calls but are trained and scored as "
            "text; to train calls, use messages with tool_calls"
        )
    if problem := source_facts.get("too_many_refused"):
        descriptions.append(f"a run would stop here: {problem}")
    return descriptions or [f"{name}: all assistant turns are trained"]


def _such_as(examples: Sequence[str] | None) -> str:
    return f", such as {examples[0].rstrip('.')}" if examples else ""


def remedy() -> str:
    """Return the setting to change if a chat template is not suitable.

    >>> remedy().startswith("set model.chat_template=")
    True
    """
    return f"set model.chat_template={'|'.join(shipped())} or a file of your own"
