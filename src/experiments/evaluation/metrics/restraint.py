"""Restraint: no call where none is right, a call where one is, and a question where one is due.

Example: "Book a table" without a time, with a tool that requires one; "For what time?" is right,
a call with an invented time is not, and neither is silence. `correct` applies to rows whose right
answer is prose although tools are offered or something is asked for (missing argument, irrelevant
request, safety), as When2Call (NVIDIA, arXiv 2504.18851) separates "call", "ask" and "cannot
answer"; `overcall` is the share of them with a call, `asked` the share of rows that want a
question and get one. `undercall` applies to rows whose right answer is a call: prose instead.

A malformed call is neither a call nor a refusal: it is `malformed`, and never `correct` or an
`undercall`. What only a tolerant parse reads as a call is no refusal either. An empty answer or
one that never ends is not restraint.
"""

from experiments.evaluation.metric_files import Item
from experiments.toolcalls.parser import gold_calls

DIRECTION = {
    "correct": "maximize",
    "overcall": "minimize",
    "asked": "maximize",
    "undercall": "minimize",
    "malformed": "minimize",
}


def score(item: Item) -> dict[str, float]:
    """Return the scores that apply: those of rows that want a call, or of rows that want none."""
    row, answer = item.row, item.answer
    if "schema" in row or not (row.get("tools") or row.get("expects")):
        return {}
    called = bool(answer.calls or item.tolerant.calls)
    broken = answer.malformed
    if _wants_a_call(item):
        # `malformed` of these rows is that of `calls`.
        return {"undercall": float(not called and not broken)}
    said = item.stopped and bool(answer.content)
    right = said and not called and not broken
    scores = {"overcall": float(called), "malformed": float(broken)}
    if row.get("expects") == "question":
        right = right and "?" in answer.content
        scores["asked"] = float(right)
    return scores | {"correct": float(right)}


def _wants_a_call(item: Item) -> bool:
    """Return whether the right answer is a call; a row may say so without a gold call."""
    return bool(gold_calls(item.row)) or item.row.get("expects") == "call"
