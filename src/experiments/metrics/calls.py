"""Calls against gold calls: exact match, names only, and malformed calls.

Example: gold `get_weather(city="Oslo")`; an answer that calls `get_weather` with "Bergen" scores
name 1, exact 0. Calls are compared as a multiset, since independent calls have no order; when an
argument refers to an earlier call as "$1", the numbers carry the order and it counts.
Exact match of name and all arguments is the usual strict score of function calling (for example
BFCL's AST check, gorilla@6ea5797 `bfcl_eval/eval_checker/ast_eval`), here without its list of
alternative answers: built-in rows have exactly one right value for each argument.
"""

import re
from typing import Any

from experiments.answers import gold_calls, same_value
from experiments.metrics import Item

DIRECTION = {"exact": "maximize", "name": "maximize", "malformed": "minimize"}
_REFERENCE = re.compile(r"\$\d+")


def score(item: Item) -> dict[str, float]:
    """Return `malformed` for every item, `exact` and `name` where there are gold calls."""
    scores = {"malformed": float(item.answer.malformed)}
    gold = gold_calls(item.row)
    if gold:
        calls = item.answer.calls
        whole = not item.answer.malformed
        scores["exact"] = float(whole and _same_calls(gold, calls))
        scores["name"] = float(
            whole and sorted(c["name"] for c in gold) == sorted(c["name"] for c in calls)
        )
    return scores


def _same_calls(gold: list[dict[str, Any]], calls: list[dict[str, Any]]) -> bool:
    if len(gold) != len(calls):
        return False
    if any(_refers(call["arguments"]) for call in gold):
        return all(map(same_value, gold, calls))
    left = list(calls)
    for wanted in gold:
        at = next((i for i, call in enumerate(left) if same_value(wanted, call)), None)
        if at is None:
            return False
        del left[at]
    return True


def _refers(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_refers(v) for v in value.values())
    if isinstance(value, list):
        return any(map(_refers, value))
    return isinstance(value, str) and bool(_REFERENCE.search(value))
