"""Build dependency graphs from steps, and test whether two are equal up to the order of steps.

Nodes are steps, and edges lead from a step to the steps that use its result. The colour of a node
stands for its tool and the complete tree of its dependencies, as compared by TinyAgent's
`node_match` (SqueezeAILab/TinyAgent@0074615 `src/utils/graph_utils.py`). A tree can be
exponentially large, so it is never built: a colour is a number assigned to (tool, colours of the
dependencies), and equal trees in both plans have the same number.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from experiments.toolcalls.plan_graphs.plan_text import Plan, PlanError

if TYPE_CHECKING:
    import networkx as nx

Pair = tuple["nx.DiGraph", "nx.DiGraph"]
Colours = dict[Any, int]
"""Colour by (tool, colours of the dependencies); shared by the two compared plans."""

MAX_ROUNDS = 8
"""Rounds of colour refinement; more would take time and only refine what the search decides
anyway."""
MAX_TRIES = 800
"""Maximum number of step pairs that the search tries, about 20 ms; only adversarial plans reach
it."""

_CIRCULAR = "Circular dependency detected. The tool is dependent on itself, which is not allowed."


def build(plan: Plan, colours: Colours, *, quirks: bool = False) -> "nx.DiGraph":
    """Return the dependency graph: nodes are positions from 1, with `tool` and `colour`.

    With `quirks`, `$0` adds a node 0 without attributes, as upstream does.

    Raises:
        PlanError: a reference is outside of the plan, to the step itself, or part of a cycle.
    """
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(1, len(plan.steps) + 1))
    colour_by_node: dict[int, int] = {}
    path: list[int] = []

    def colour(node: int) -> int:
        """Return the colour of a step, adding its dependencies; at most 65 calls deep."""
        if node in colour_by_node:
            return colour_by_node[node]
        path.append(node)
        step = plan.steps[node - 1]  # node 0 is the last step
        dependencies = []
        for reference in step.needs:
            if reference in plan.outside:
                dependencies.append((f"${reference}", -1))  # a separate leaf, not a step
                continue
            needed = _needed_step(plan, reference, node, quirks=quirks)
            graph.add_edge(needed, node)
            if needed in path:
                raise PlanError(_circle_message(needed, node, quirks=quirks))
            dependencies.append((plan.steps[needed - 1].tool, colour(needed)))
        # Sorting only by name can make equal trees differ, which is upstream's quirk.
        dependencies.sort(key=(lambda pair: pair[:1]) if quirks else None)
        path.pop()
        colour_by_node[node] = colours.setdefault((step.tool, tuple(dependencies)), len(colours))
        return colour_by_node[node]

    for node in range(1, len(plan.steps) + 1):
        graph.nodes[node].update(tool=plan.steps[node - 1].tool, colour=colour(node))
    return graph


def _needed_step(plan: Plan, reference: str, node: int, *, quirks: bool) -> int:
    """Return the position that a reference points to."""
    steps = len(plan.steps)
    if plan.labels is not None:
        if reference not in plan.labels:
            raise PlanError(f"UnknownLabel: step {node} refers to {reference!r}, which no call has")
        return plan.labels[reference]
    try:
        number = int(reference)
    except ValueError as error:  # exceeds Python's limit on digits
        if quirks:
            raise PlanError(f"ValueError: {error}") from error
        number = sys.maxsize
    if quirks and number - 1 > sys.maxsize:
        raise PlanError("IndexError: cannot fit 'int' into an index-sized integer")
    if quirks and number > steps:
        raise PlanError("IndexError: list index out of range")
    if not quirks and not 1 <= number <= steps:
        raise PlanError(
            f"OutOfRange: step {node} refers to ${reference[:9]}, but the plan has {steps} steps"
        )
    return number


def _circle_message(needed: int, node: int, *, quirks: bool) -> str:
    if needed == node:
        return f"ValueError: {_CIRCULAR}" if quirks else f"SelfReference: step {node} uses itself"
    if quirks:
        return "RecursionError: maximum recursion depth exceeded"
    return f"CircularReference: step {node} uses step {needed}, which uses step {node}"


def same(first: "nx.DiGraph", second: "nx.DiGraph") -> bool:
    """Return whether some renumbering of the steps turns one graph into the other.

    Equal colours on both sides are necessary. Colours are first refined by the steps that use a
    step (Weisfeiler and Leman 1968). Then edges that connect all steps of two colours, which any
    renumbering preserves, are removed, and the remaining components are matched one by one with
    networkx (VF2: Cordella et al., IEEE PAMI 26, 2004). On the complete graph, VF2 would try all
    orders of equal components.

    Raises:
        PlanError: the search takes more than `MAX_TRIES` tries.
    """
    if (0 in first or 0 in second) and len(first) and len(second):
        raise PlanError("KeyError: 'tool_name'")  # upstream fails on the node without attributes
    if len(first) != len(second) or first.number_of_edges() != second.number_of_edges():
        return False
    if _identical(first, second):
        return True
    refined = _refine(first, second)
    return refined is not None and _same_parts((first, second), refined)


def _same_parts(pair: Pair, refined: tuple[dict[int, int], dict[int, int]]) -> bool:
    kinds, other_kinds = (
        _count_edge_kinds(graph, colours) for graph, colours in zip(pair, refined, strict=True)
    )
    if kinds != other_kinds:
        return False
    sizes = Counter(refined[0].values())
    full = {kind for kind, count in kinds.items() if count == sizes[kind[0]] * sizes[kind[1]]}
    components, unmatched = (
        list(_parts(graph, colours, full)) for graph, colours in zip(pair, refined, strict=True)
    )
    tries = [0]
    for component in components:
        index = next(
            (i for i, other in enumerate(unmatched) if _same_part(component, other, tries)), None
        )
        if index is None:
            return False
        del unmatched[index]
    return True


def _identical(first: "nx.DiGraph", second: "nx.DiGraph") -> bool:
    """Return whether the steps already have the same order, so that no search is needed."""
    return dict(first.nodes(data="colour")) == dict(second.nodes(data="colour")) and all(
        second.has_edge(*edge) for edge in first.edges
    )


def _refine(
    first: "nx.DiGraph", second: "nx.DiGraph"
) -> tuple[dict[int, int], dict[int, int]] | None:
    """Return finer colours for both graphs, or None if they cannot be matched."""
    first_colours, second_colours = (dict(graph.nodes(data="colour")) for graph in (first, second))
    class_count = 0
    for _ in range(MAX_ROUNDS):
        counts = Counter(first_colours.values())
        if counts != Counter(second_colours.values()):
            return None
        if len(counts) == class_count:
            break
        class_count = len(counts)
        names: dict[Any, int] = {}
        first_colours, second_colours = (
            _refine_once(first, first_colours, names),
            _refine_once(second, second_colours, names),
        )
    return (
        (first_colours, second_colours)
        if Counter(first_colours.values()) == Counter(second_colours.values())
        else None
    )


def _refine_once(
    graph: "nx.DiGraph", colours: dict[int, int], names: dict[Any, int]
) -> dict[int, int]:
    def around(node: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        before = sorted(colours[neighbour] for neighbour in graph.pred[node])
        after = sorted(colours[neighbour] for neighbour in graph.succ[node])
        return colours[node], tuple(before), tuple(after)

    return {node: names.setdefault(around(node), len(names)) for node in graph}


def _count_edge_kinds(graph: "nx.DiGraph", colours: dict[int, int]) -> Counter[tuple[int, int]]:
    return Counter((colours[start], colours[end]) for start, end in graph.edges)


def _parts(
    graph: "nx.DiGraph", colours: dict[int, int], full: set[tuple[int, int]]
) -> Iterator["nx.DiGraph"]:
    """Yield the connected components of a graph without the edges of the kinds in `full`."""
    import networkx as nx

    reduced = nx.DiGraph()
    reduced.add_nodes_from((node, {"colour": colour}) for node, colour in colours.items())
    reduced.add_edges_from(
        (start, end) for start, end in graph.edges if (colours[start], colours[end]) not in full
    )
    for nodes in nx.weakly_connected_components(reduced):
        yield reduced.subgraph(nodes).copy()


def _same_part(first: "nx.DiGraph", second: "nx.DiGraph", tries: list[int]) -> bool:
    from networkx.algorithms.isomorphism import DiGraphMatcher

    first_colours, second_colours = (dict(graph.nodes(data="colour")) for graph in (first, second))
    if Counter(first_colours.values()) != Counter(second_colours.values()):
        return False
    if len(first_colours) == 1:
        return True
    matcher = DiGraphMatcher(first, second)
    is_feasible = matcher.syntactic_feasibility

    def feasible(node: int, second_node: int) -> bool:
        if first_colours[node] != second_colours[second_node]:
            return False
        tries[0] += 1
        if tries[0] > MAX_TRIES:
            raise PlanError(f"TooComplex: the plans could not be compared in {MAX_TRIES} tries")
        return bool(is_feasible(node, second_node))

    matcher.syntactic_feasibility = feasible
    return bool(matcher.is_isomorphic())
