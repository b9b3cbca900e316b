"""Identify evaluation rows independently of the model and of how they are rendered.

Two models are only compared on the same rows. Which rows these are is decided before the tokenizer,
chat template and maximum length are known: a row that does not fit into a model's context stays in
its split without tokens, and counts as unanswered for that model.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from experiments.data import identity
from experiments.data.rendering import Encoded

Row = dict[str, Any]
# Names of a row and of its data set, and keys added here; none of them is shown to a model.
_KEYS_WITHOUT_CONTENT = ("id", "source", "keys", "unheld")
_SHOWN_DIGITS = 16


def digest(row: Row) -> str:
    """Return the sha256 of a canonical row without its id and source, as 64 hex digits."""
    return identity.content({k: v for k, v in row.items() if k not in _KEYS_WITHOUT_CONTENT})


def has_answer(row: Row) -> bool:
    """Return whether a canonical row has an assistant turn that could be answered or trained."""
    return any(
        message["role"] == "assistant"
        and message.get("train", True)
        and (str(message.get("content") or "").strip() or message.get("tool_calls"))
        for message in row["messages"]
    )


def unheld(row: Row, reason: str) -> Encoded:
    """Return a row that does not fit into the model's context: without tokens, with a reason."""
    return Encoded({**row, "unheld": reason}, array("i"), (), 0)


@dataclass
class Evaluated:
    """The evaluation rows of a run."""

    splits: dict[str, list[Encoded]] = field(default_factory=dict)
    """Rows by split that fit into the model's context."""
    unheld: dict[str, dict[int, Row]] = field(default_factory=dict)
    """Rows that do not fit into the context, by split and by their index among all of its rows."""
    digests: dict[str, list[str]] = field(default_factory=dict)
    """`digest` of every row by split, including rows that do not fit."""

    def asked(self, split: str, limit: int | None) -> list[Encoded]:
        """Return those of the first `limit` rows of a split that fit into the context."""
        rows = self.splits.get(split, [])
        return rows if limit is None else rows[: limit - len(self.unanswered(split, limit))]

    def unanswered(self, split: str, limit: int | None) -> list[Row]:
        """Return those of the first `limit` rows of a split that do not fit into the context."""
        unheld_rows = self.unheld.get(split, {})
        return [row for index, row in unheld_rows.items() if limit is None or index < limit]

    def rows(self, split: str, limit: int | None) -> dict[str, Any]:
        """Return the number of evaluated rows of a split and the hash of their contents.

        The hash depends on the order of the rows, so that equal hashes mean the same rows for a
        `limit`.
        """
        digests = self.digests[split][:limit]
        return {"rows": len(digests), "sha256": identity.fingerprint(digests)[:_SHOWN_DIGITS]}

    def reasons(self) -> dict[str, dict[str, int]]:
        """Return the number of rows that do not fit into the context, by split and reason."""
        return {
            split: dict(Counter(row["unheld"] for row in rows.values()))
            for split, rows in self.unheld.items()
        }


def separate(splits: dict[str, list[Encoded]]) -> Evaluated:
    """Separate evaluation rows with tokens from those without."""
    evaluated = Evaluated()
    for split, rows in splits.items():
        evaluated.splits[split] = [e for e in rows if "unheld" not in e.row]
        without = {index: e.row for index, e in enumerate(rows) if "unheld" in e.row}
        if without:
            evaluated.unheld[split] = without
        evaluated.digests[split] = [_stored_digest(e.row) or digest(e.row) for e in rows]
    return evaluated


def _stored_digest(row: Row) -> str | None:
    stored: str | None = row.get("keys", {}).get("content")
    return stored
