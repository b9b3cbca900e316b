"""Restraint: no call where none is right, and a question back where one is due.

Example: "Book a table" without a time, with a tool that requires one; "For what time?" is right,
a call with an invented time is not, and neither is silence. It applies to rows whose gold turn is
prose although tools are offered or something is asked for (missing argument, irrelevant request,
safety), as When2Call (NVIDIA, arXiv 2504.18851) separates "call", "ask" and "cannot answer".
A malformed call, an empty answer or one that never ends is not restraint.
"""

from experiments.answers import gold_calls
from experiments.metrics import Item

DIRECTION = {"correct": "maximize"}


def score(item: Item) -> dict[str, float]:
    """Return `correct` for rows whose right answer is prose."""
    row, answer = item.row, item.answer
    if row.get("expects") == "call":  # a call is due, though no gold call says which
        return {}
    if gold_calls(row) or "schema" in row or not (row.get("tools") or row.get("expects")):
        return {}
    right = not answer.calls and not answer.malformed and item.stopped and bool(answer.content)
    if row.get("expects") == "question":
        right = right and "?" in answer.content
    return {"correct": float(right)}
