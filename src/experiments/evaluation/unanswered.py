"""Test rows that a model cannot hold -> what they count as: failures, with no answer to look at.

They stay in every mean of which more is better, so that models are compared on the same rows. In
the others, such as the share of malformed answers, and in the losses they have no part.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from experiments.evaluation.metrics import Item
from experiments.toolcalls import parser


def items(rows: Iterable[dict[str, Any]], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an item for each row, without a text.

    Args:
        rows: with `unheld`, the reason, which stands where an answer has why it stopped.
        about: what all items hold, such as the model and the split.
    """
    for row in rows:
        said = {"id": row["id"], "category": row.get("category"), "stop_reason": row["unheld"]}
        empty = {"text": "", "stopped": False, "new_tokens": 0, "defects": [], "parts": {}}
        yield about | said | empty


def failed(row: dict[str, Any], modules: Mapping[str, ModuleType]) -> dict[str, float]:
    """Return 0 for the scores that an empty answer would have, where more is better."""
    item = Item(row, parser.parse(""), False, 0)
    return {
        f"{name}/{key}": 0.0
        for name, module in modules.items()
        for key in module.score(item)
        if name != "generation" and module.DIRECTION.get(key) == "maximize"
    }
