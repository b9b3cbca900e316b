"""Score test rows that do not fit into a model's context as failures, without an answer.

They count in every mean for which more is better, so that models are compared on the same rows.
They do not count in other means, such as the share of malformed answers, or in the losses.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from experiments.evaluation.metrics import Item
from experiments.toolcalls import parser


def items(
    rows: Iterable[dict[str, Any]], common_fields: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield an item without a text for each row.

    Args:
        rows: rows with `unheld`, the reason, which takes the place of an answer's stop reason.
        common_fields: fields that all items share, such as the model and the split.
    """
    for row in rows:
        row_fields = {
            "id": row["id"],
            "category": row.get("category"),
            "stop_reason": row["unheld"],
        }
        empty_answer = {"text": "", "stopped": False, "new_tokens": 0, "defects": [], "parts": {}}
        yield common_fields | row_fields | empty_answer


def failed(row: dict[str, Any], modules: Mapping[str, ModuleType]) -> dict[str, float]:
    """Return 0 for the scores that an empty answer would have, if more is better."""
    item = Item(row, parser.parse(""), False, 0)
    return {
        f"{name}/{key}": 0.0
        for name, module in modules.items()
        for key in module.score(item)
        if name != "generation" and module.DIRECTION.get(key) == "maximize"
    }
