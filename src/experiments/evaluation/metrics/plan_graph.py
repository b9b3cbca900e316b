"""Plan graph: whether the right tools get the right results, whatever the other arguments are.

Example: the gold calls are `find_file("a")`, then `send(file="$1")`; an answer that finds "b" and
sends "$1" has success 1, one that sends "b" itself has success 0 and tool_recall 1. Calls that do
not refer to each other have no order. Compare it with `calls`: success without `exact` means right
tools with wrong values. It is TinyAgent's success (SqueezeAILab/TinyAgent@0074615
`src/utils/graph_utils.py`), without the bugs that `experiments.toolcalls.plan_graphs` lists.

References are `$1` (the first call), or `$var1.field$` if a gold call has a `label` or the row has
`plan: nestful`; an answer's calls are then `var1`, `var2` and so on. A row is not scored if its
gold calls themselves form no graph, for example because a price such as "$500" reads as a
reference. A malformed answer has success and recall 0.
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
