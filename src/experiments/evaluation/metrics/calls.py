"""Compare calls with gold calls: exact match, names, arguments, schema and tolerant parsing.

Example: the gold call is `get_weather(city="Oslo", days=2)`; an answer that calls `get_weather`
with "Bergen" and 2 scores name 1, exact 0, argument precision and recall 0.5. Calls are compared as
a multiset, because independent calls have no order. If an argument refers to an earlier call as
"$1", the numbers define an order and it counts.

Exact match of name and all arguments is the usual strict score of function calling (for example
BFCL's AST check, gorilla@6ea5797 `bfcl_eval/eval_checker/ast_eval`), here without its list of
alternative answers; rows of BFCL are scored by `bfcl_ast`. Arguments belong to their call, so they
are compared call by call, with the assignment of calls that gets most arguments right.

`exact` and `parsed` parse the answer strictly, `exact_tolerant` and `parsed_tolerant` with a
tolerant parser (`parser.parse_tolerant`): the difference between them is due to format, the rest
to content. `schema_valid` is whether every call names an offered tool and fits its parameters; it
applies if the row has a list of tools and no gold argument refers to another call's result.
"""

import re
from collections.abc import Sequence
from typing import Any

from experiments.evaluation.metric_files import Item
from experiments.toolcalls import schemas
from experiments.toolcalls.parser import gold_calls, same_value, tool_names

DIRECTION = {
    "exact": "maximize",
    "exact_tolerant": "maximize",
    "name": "maximize",
    "argument_precision": "maximize",
    "argument_recall": "maximize",
    "schema_valid": "maximize",
    "parsed": "maximize",
    "parsed_tolerant": "maximize",
    "malformed": "minimize",
}
_REFERENCE = re.compile(r"\$\d+")
Call = dict[str, Any]


def score(item: Item) -> dict[str, float]:
    """Return `malformed` for every item, and the other scores if there are gold calls."""
    scores = {"malformed": float(item.answer.malformed)}
    gold = gold_calls(item.row)
    if not gold or "bfcl" in item.row:  # BFCL lists several right values for an argument
        return scores
    calls, well_formed = item.answer.calls, not item.answer.malformed
    tolerant = item.tolerant
    scores["exact"] = float(well_formed and same_calls(gold, calls))
    scores["exact_tolerant"] = float(not tolerant.malformed and same_calls(gold, tolerant.calls))
    scores["name"] = float(
        well_formed and sorted(c["name"] for c in gold) == sorted(c["name"] for c in calls)
    )
    scores["parsed"] = float(well_formed and bool(calls))
    scores["parsed_tolerant"] = float(not tolerant.malformed and bool(tolerant.calls))
    if item.row.get("tools") and not any(_has_reference(call["arguments"]) for call in gold):
        scores["schema_valid"] = float(
            well_formed and bool(calls) and _fit_their_tools(item.row, calls)
        )
    precision, recall = _arguments(gold, calls if well_formed else [])
    return scores | {"argument_precision": precision, "argument_recall": recall}


def same_calls(gold: list[Call], calls: list[Call]) -> bool:
    """Return whether the calls equal the gold calls.

    Their order matters only if gold calls refer to each other.
    """
    gold, calls = [_without_label(call) for call in gold], [_without_label(call) for call in calls]
    if len(gold) != len(calls):
        return False
    if any(_has_reference(call["arguments"]) for call in gold):
        return all(map(same_value, gold, calls))
    unmatched = list(calls)
    for gold_call in gold:
        index = next((i for i, call in enumerate(unmatched) if same_value(gold_call, call)), None)
        if index is None:
            return False
        del unmatched[index]
    return True


def _without_label(call: Call) -> Call:
    """Remove the label of a call in a nested sequence: it names the call and is not part of it."""
    return {"name": call["name"], "arguments": call["arguments"]}


def _arguments(gold: list[Call], calls: list[Call]) -> tuple[float, float]:
    """Return precision and recall of (call, argument, value) for the best assignment of calls.

    A call without arguments counts as one right argument if its name is right, so that such calls
    affect the score.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    call_weight, gold_weight = (
        sum(_weight(call) for call in side_calls) for side_calls in (calls, gold)
    )
    if not call_weight or not gold_weight:
        return 0.0, 0.0
    shared_GC = np.array([[_matching_arguments(g, c) for c in calls] for g in gold])
    rows, columns = linear_sum_assignment(shared_GC, maximize=True)
    matched = float(shared_GC[rows, columns].sum())
    return matched / call_weight, matched / gold_weight


def _weight(call: Call) -> int:
    return max(1, len(call["arguments"]))


def _matching_arguments(gold: Call, call: Call) -> int:
    """Return the number of arguments of a call that equal those of a gold call."""
    if gold["name"] != call["name"]:
        return 0
    gold_arguments, arguments = gold["arguments"], call["arguments"]
    if not gold_arguments and not arguments:
        return 1
    return sum(
        key in arguments and same_value(value, arguments[key])
        for key, value in gold_arguments.items()
    )


def _fit_their_tools(row: dict[str, Any], calls: Sequence[Call]) -> bool:
    """Return whether every call names an offered tool and fits its parameters."""
    functions = [tool.get("function", tool) for tool in row.get("tools") or []]
    offered = dict(zip(tool_names(row), functions, strict=True))
    return all(
        call["name"] in offered
        and schemas.is_valid(offered[call["name"]].get("parameters") or {}, call["arguments"])
        for call in calls
    )


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_reference(v) for v in value.values())
    if isinstance(value, list):
        return any(map(_has_reference, value))
    return isinstance(value, str) and bool(_REFERENCE.search(value))
