"""Restraint: call only if a call is right, and ask a question if one is needed.

Example: the user writes "Book a table" without a time, and the tool requires one. "For what time?"
is right; a call with an invented time is wrong, and so is an empty answer. `correct` applies to
rows whose right answer is prose although tools are offered or a specific behaviour is expected
(missing argument, irrelevant request, safety), following When2Call (NVIDIA, arXiv 2504.18851),
which distinguishes "call", "ask" and "cannot answer". `overcall` is the share of these rows with a
call; `asked` is the share of rows that need a question and get one. `undercall` applies to rows
whose right answer is a call, and counts answers in prose.

A malformed call is neither a call nor a refusal: it counts as `malformed`, and never as `correct`
or `undercall`. An answer that only the tolerant parser reads as a call is not a refusal either. An
empty answer or one that never ends is not restraint.
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
    """Return the scores that apply to a row, depending on whether its right answer is a call."""
    row, answer = item.row, item.answer
    if "schema" in row or not (row.get("tools") or row.get("expects")):
        return {}
    called = bool(answer.calls or item.tolerant.calls)
    malformed = answer.malformed
    if _expects_call(item):
        # The metric `calls` scores `malformed` for these rows.
        return {"undercall": float(not called and not malformed)}
    answered = item.stopped and bool(answer.content)
    correct = answered and not called and not malformed
    scores = {"overcall": float(called), "malformed": float(malformed)}
    if row.get("expects") == "question":
        correct = correct and "?" in answer.content
        scores["asked"] = float(correct)
    return scores | {"correct": float(correct)}


def _expects_call(item: Item) -> bool:
    """Return whether the right answer is a call; a row may specify this without a gold call."""
    return bool(gold_calls(item.row)) or item.row.get("expects") == "call"
