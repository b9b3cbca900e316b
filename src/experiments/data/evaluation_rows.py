"""Evaluation rows -> what tells them apart, whatever model reads them and however they are shown.

Two models are compared on the same rows only. Which rows those are is decided before a tokenizer,
a template or a longest length is known, so a row that one model cannot hold stays a row of its
split: it is kept without tokens and counts as unanswered there.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from experiments.data import identity
from experiments.data.rendering import Encoded

Row = dict[str, Any]
# The name of a row and of its set, and what is added here: none of it is asked of a model.
_NO_CONTENT = ("id", "source", "keys", "unheld")
_SHOWN_DIGITS = 16


def digest(row: Row) -> str:
    """Return the sha256 of a canonical row without its id and source, as 64 hex digits."""
    return identity.content({k: v for k, v in row.items() if k not in _NO_CONTENT})


def has_answer(row: Row) -> bool:
    """Whether a canonical row has an assistant turn that could be answered or trained."""
    return any(
        m["role"] == "assistant"
        and m.get("train", True)
        and (str(m.get("content") or "").strip() or m.get("tool_calls"))
        for m in row["messages"]
    )


def unheld(row: Row, reason: str) -> Encoded:
    """Return a row that a model cannot hold: it has a reason and no tokens."""
    return Encoded({**row, "unheld": reason}, array("i"), (), 0)


@dataclass
class Evaluated:
    """The evaluation rows of a run."""

    splits: dict[str, list[Encoded]] = field(default_factory=dict)
    """Split -> the rows that the model can hold."""
    unheld: dict[str, dict[int, Row]] = field(default_factory=dict)
    """Split -> place among all of its rows -> a row that the model cannot hold."""
    digests: dict[str, list[str]] = field(default_factory=dict)
    """Split -> `digest` of each of its rows, held or not."""

    def asked(self, split: str, limit: int | None) -> list[Encoded]:
        """Return those of the first `limit` rows of a split that the model can hold."""
        members = self.splits.get(split, [])
        return members if limit is None else members[: limit - len(self.unanswered(split, limit))]

    def unanswered(self, split: str, limit: int | None) -> list[Row]:
        """Return those of the first `limit` rows of a split that the model cannot hold."""
        places = self.unheld.get(split, {})
        return [row for at, row in places.items() if limit is None or at < limit]

    def rows(self, split: str, limit: int | None) -> dict[str, Any]:
        """Return the number of the rows of a split that are asked, and the hash of their contents.

        The hash follows the order of the rows, so that `limit` takes the same ones of equal sets.
        """
        digests = self.digests[split][:limit]
        return {"rows": len(digests), "sha256": identity.fingerprint(digests)[:_SHOWN_DIGITS]}

    def reasons(self) -> dict[str, dict[str, int]]:
        """Return split -> why the model cannot hold rows of it -> how many."""
        return {
            split: dict(Counter(row["unheld"] for row in rows.values()))
            for split, rows in self.unheld.items()
        }


def separate(splits: dict[str, list[Encoded]]) -> Evaluated:
    """Separate the evaluation rows that have tokens from those that have none."""
    found = Evaluated()
    for split, rows in splits.items():
        found.splits[split] = [e for e in rows if "unheld" not in e.row]
        without = {at: e.row for at, e in enumerate(rows) if "unheld" in e.row}
        if without:
            found.unheld[split] = without
        found.digests[split] = [_known(e.row) or digest(e.row) for e in rows]
    return found


def _known(row: Row) -> str | None:
    found: str | None = row.get("keys", {}).get("content")
    return found
