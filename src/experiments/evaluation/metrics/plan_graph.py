"""Plan graph: the right tools, each fed by the right results, whatever the other arguments are.

Example: gold `find_file("a")`, then `send(file="$1")`; an answer that finds "b" and sends "$1" has
success 1, one that sends "b" itself has success 0 and tool_recall 1. Calls that do not refer to
each other have no order. Read it beside `calls`: success without `exact` is "right tools, wrong
values". It is TinyAgent's success (SqueezeAILab/TinyAgent@0074615 `src/utils/graph_utils.py`),
without its accidents, which `experiments.toolcalls.plan_graphs` lists.

References are `$1` (the first call), or `$var1.field$` where a gold call has a `label` or the row
says `plan: nestful`; an answer's calls are then `var1`, `var2` and so on. A row whose gold calls
make no graph themselves, because a price such as "$500" reads as a reference, is not scored. A
malformed answer has neither success nor recall.
"""

from typing import Any

from experiments.evaluation.metric_files import Item
from experiments.toolcalls import plan_graphs
from experiments.toolcalls.parser import gold_calls

DIRECTION = {"success": "maximize", "tool_recall": "maximize"}


def score(item: Item) -> dict[str, float]:
    """Return `success` and `tool_recall` for rows with gold calls."""
    gold = gold_calls(item.row)
    labelled = item.row.get("plan") == "nestful" or plan_graphs.has_labels(gold)
    if not gold or not _is_graph(gold, labelled=labelled):
        return {}
    if item.answer.malformed or not item.answer.calls:
        return {"success": 0.0, "tool_recall": 0.0}
    verdict = plan_graphs.compare(gold, item.answer.calls, labelled=labelled)
    return {"success": float(verdict.success), "tool_recall": verdict.tool_recall}


def _is_graph(gold: list[dict[str, Any]], *, labelled: bool) -> bool:
    try:
        plan_graphs.graph_of(gold, labelled=labelled)
    except plan_graphs.PlanError:
        return False
    return True
