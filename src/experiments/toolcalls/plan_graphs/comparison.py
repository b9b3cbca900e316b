"""Compare the dependency graphs of a label plan and a predicted plan.

This is TinyAgent's success metric (Erdogan et al., arXiv 2409.00608; SqueezeAILab/TinyAgent@0074615
`src/utils/graph_utils.py`). It compares the tools and the dependencies of each step, but not the
values of arguments; independent steps have no order. `join` counts as a step.

With `quirks=True` the rules are upstream's, and where upstream raises, the error is upstream's.
Without it, the accidents of upstream's implementation are avoided:

- A reference counts wherever it occurs: in a nested list, a tuple or a dict, as `${1}`, and as the
  second one in a string. Upstream checks strings and lists one level deep, and only the first `$1`
  of a string. A number that occurs twice in one string counts once in both.
- Dependencies are compared after sorting them by their complete trees. Upstream sorts them by tool
  name, so two equal plans with a step that needs two calls of one tool in another order can be
  found different.
- A reference to the step itself, to `$0`, to a step outside of the plan or in a cycle is a named
  error. Upstream raises the resulting Python error (ValueError, KeyError, IndexError,
  RecursionError).
- Any tool name is a step. Upstream ends the plan at a name that is not among its 17.
- Calls are supported, which upstream does not do. A label that no call of the label plan has (two
  rows of NESTFUL) may be missing in the prediction too; any other missing label is a named error.
- An answer without a step is an error unless it and the label are blank. For upstream, two plans
  without steps are equal, whatever their texts.

In both modes, a plan of more than `MAX_STEPS` steps is an error (upstream can need exponential time
for it), and so are plans that a bounded search cannot distinguish.

On 212 pairs scored by upstream, the following kinds of pair are scored differently without
`quirks`; all others agree with upstream:

- ref_inside_nested_list_not_seen: success False becomes True, because `[["$1"]]` is a reference.
- out_of_range_reference_raises: IndexError becomes OutOfRange, because the answer is malformed.
- dollar_zero_is_last_step: KeyError becomes OutOfRange, because steps are counted from 1.

(Upstream's KeyError comes from its edit distance, which it computes together with the success. With
`quirks` it is the verdict here too, whenever both plans have steps.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.toolcalls.plan_graphs import graphs
from experiments.toolcalls.plan_graphs.plan_text import (
    Plan,
    PlanError,
    Source,
    has_labels,
    read,
)

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class PlanVerdict:
    """Result of comparing two plans."""

    success: bool
    """Whether the dependency graphs are equal; False if there is an error."""
    error: str | None
    """Name and description of the error in one of the plans, such as `OutOfRange: ...`."""
    tool_recall: float
    """Share of the label's distinct tools that the prediction uses."""


def compare(
    label: Source, pred: Source, *, quirks: bool = False, labelled: bool | None = None
) -> PlanVerdict:
    r"""Compare a predicted plan with the label; never raises, whatever their contents.

    >>> compare('1. a()\n2. b()\n3. c("$1")', '1. b()\n2. a()\n3. c("$2")').success
    True
    >>> compare('1. a()\n2. b("$1")', '1. a()\n2. b("$9")').error
    'OutOfRange: step 2 refers to $9, but the plan has 2 steps (prediction)'

    Args:
        label: plan text, or a list of calls `{"name", "arguments"}` that refer to each other by
            position or by `label`.
        pred: the prediction in the same format.
        quirks: score plan text exactly as upstream does.
        labelled: whether calls refer to each other by label; the default is true if a call of
            `label` has one.
    """
    labelled = has_labels(label) if labelled is None else labelled
    plans: list[Plan] = []
    try:
        plans.extend(_read_both(label, pred, quirks=quirks, labelled=labelled))
        label_graph, pred_graph = _graphs(plans, quirks=quirks)
        return PlanVerdict(graphs.same(label_graph, pred_graph), None, tool_recall(*plans))
    except PlanError as error:
        recall = tool_recall(*plans) if len(plans) == 2 else 0.0
        return PlanVerdict(False, str(error), recall)


def graph_of(source: Source, *, labelled: bool | None = None) -> "nx.DiGraph":
    """Return the dependency graph of one plan; nodes are positions from 1 with their `tool`.

    Raises:
        PlanError: the plan has no valid graph.
    """
    labelled = has_labels(source) if labelled is None else labelled
    return graphs.build(read(source, labelled=labelled), {})


def edit_distance(
    label: Source, pred: Source, *, quirks: bool = False, seconds: float = 10.0
) -> float | None:
    r"""Return the minimum number of edits of steps and edges; None if unknown.

    An edit adds, removes or exchanges a step or an edge. The distance is networkx'
    `graph_edit_distance` (Abu-Aisheh et al., ICPRAM 2015), which is exponential in the worst case
    and therefore not among the scores.

    >>> edit_distance('1. a()\n2. b("$1")', '1. a()\n2. b()')
    2.0

    Args:
        label: as in `compare`.
        pred: as in `compare`.
        quirks: as in `compare`.
        seconds: time limit; the best distance found by then is returned, as upstream does after 10
            s.

    Raises:
        PlanError: one of the plans has no valid graph.
    """
    import networkx as nx

    plans = _read_both(label, pred, quirks=quirks, labelled=has_labels(label))
    label_graph, pred_graph = _graphs(plans, quirks=quirks)
    if graphs.same(label_graph, pred_graph):
        return 0.0

    def same_colour(a: dict[str, Any], b: dict[str, Any]) -> bool:
        return bool(a["colour"] == b["colour"])

    distance = nx.graph_edit_distance(
        label_graph, pred_graph, node_match=same_colour, timeout=seconds
    )
    return None if distance is None else float(distance)


def tool_recall(label: Plan, pred: Plan) -> float:
    """Return the share of the label's tools that the prediction uses; 1 if there are none."""
    label_tools = {step.tool for step in label.steps}
    pred_tools = {step.tool for step in pred.steps}
    return len(label_tools & pred_tools) / len(label_tools) if label_tools else 1.0


def _read_both(label: Source, pred: Source, *, quirks: bool, labelled: bool) -> list[Plan]:
    with _naming_plan("label", quirks=quirks):
        label_plan = read(label, quirks=quirks, labelled=labelled)
    with _naming_plan("prediction", quirks=quirks):
        outside = label_plan.outside
        return [label_plan, read(pred, quirks=quirks, labelled=labelled, outside=outside)]


def _graphs(plans: list[Plan], *, quirks: bool) -> list["nx.DiGraph"]:
    colours: graphs.Colours = {}
    dependency_graphs = []
    for plan, name in zip(plans, ("label", "prediction"), strict=True):
        with _naming_plan(name, quirks=quirks):
            dependency_graphs.append(graphs.build(plan, colours, quirks=quirks))
    return dependency_graphs


@contextmanager
def _naming_plan(plan_name: str, *, quirks: bool) -> Iterator[None]:
    """Add to an error which of the plans it concerns; upstream's errors are left unchanged."""
    try:
        yield
    except PlanError as error:
        if quirks:
            raise
        raise PlanError(f"{error} ({plan_name})") from error
