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
    known: dict[int, int] = {}
    path: list[int] = []

    def colour(node: int) -> int:
        """Return the colour of a step, adding its dependencies; at most 65 calls deep."""
        if node in known:
            return known[node]
        path.append(node)
        step = plan.steps[node - 1]  # node 0 is the last step
        below = []
        for reference in step.needs:
            if reference in plan.outside:
                below.append((f"${reference}", -1))  # a separate leaf, not a step
                continue
            needed = _needed(plan, reference, node, quirks=quirks)
            graph.add_edge(needed, node)
            if needed in path:
                raise PlanError(_circle(needed, node, quirks=quirks))
            below.append((plan.steps[needed - 1].tool, colour(needed)))
        # Sorting only by name can make equal trees differ, which is upstream's quirk.
        below.sort(key=(lambda pair: pair[:1]) if quirks else None)
        path.pop()
        known[node] = colours.setdefault((step.tool, tuple(below)), len(colours))
        return known[node]

    for node in range(1, len(plan.steps) + 1):
        graph.nodes[node].update(tool=plan.steps[node - 1].tool, colour=colour(node))
    return graph


def _needed(plan: Plan, reference: str, node: int, *, quirks: bool) -> int:
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


def _circle(needed: int, node: int, *, quirks: bool) -> str:
    if needed == node:
        return f"ValueError: {_CIRCULAR}" if quirks else f"SelfReference: step {node} uses itself"
    if quirks:
        return "RecursionError: maximum recursion depth exceeded"
    return f"CircularReference: step {node} uses step {needed}, which uses step {node}"


def same(one: "nx.DiGraph", other: "nx.DiGraph") -> bool:
    """Return whether some renumbering of the steps turns one graph into the other.

    Equal colours on both sides are necessary. Colours are first refined by the steps that use a
    step (Weisfeiler and Leman 1968). Then edges that connect all steps of two colours, which any
    renumbering preserves, are removed, and the remaining components are matched one by one with
    networkx (VF2: Cordella et al., IEEE PAMI 26, 2004). On the complete graph, VF2 would try all
    orders of equal components.

    Raises:
        PlanError: the search takes more than `MAX_TRIES` tries.
    """
    if (0 in one or 0 in other) and len(one) and len(other):
        raise PlanError("KeyError: 'tool_name'")  # upstream fails on the node without attributes
    if len(one) != len(other) or one.number_of_edges() != other.number_of_edges():
        return False
    if _identical(one, other):
        return True
    refined = _refine(one, other)
    return refined is not None and _same_parts((one, other), refined)


def _same_parts(pair: Pair, refined: tuple[dict[int, int], dict[int, int]]) -> bool:
    kinds, other_kinds = (_edge_kinds(graph, of) for graph, of in zip(pair, refined, strict=True))
    if kinds != other_kinds:
        return False
    sizes = Counter(refined[0].values())
    full = {kind for kind, n in kinds.items() if n == sizes[kind[0]] * sizes[kind[1]]}
    parts, left = (list(_parts(graph, of, full)) for graph, of in zip(pair, refined, strict=True))
    tries = [0]
    for part in parts:
        at = next((i for i, p in enumerate(left) if _same_part(part, p, tries)), None)
        if at is None:
            return False
        del left[at]
    return True


def _identical(one: "nx.DiGraph", other: "nx.DiGraph") -> bool:
    """Return whether the steps already have the same order, so that no search is needed."""
    return dict(one.nodes(data="colour")) == dict(other.nodes(data="colour")) and all(
        other.has_edge(*edge) for edge in one.edges
    )


def _refine(one: "nx.DiGraph", other: "nx.DiGraph") -> tuple[dict[int, int], dict[int, int]] | None:
    """Return finer colours for both graphs, or None if they cannot be matched."""
    a, b = (dict(graph.nodes(data="colour")) for graph in (one, other))
    classes = 0
    for _ in range(MAX_ROUNDS):
        counts = Counter(a.values())
        if counts != Counter(b.values()):
            return None
        if len(counts) == classes:
            break
        classes = len(counts)
        names: dict[Any, int] = {}
        a, b = _round(one, a, names), _round(other, b, names)
    return (a, b) if Counter(a.values()) == Counter(b.values()) else None


def _round(graph: "nx.DiGraph", of: dict[int, int], names: dict[Any, int]) -> dict[int, int]:
    def around(node: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        before = sorted(of[other] for other in graph.pred[node])
        after = sorted(of[other] for other in graph.succ[node])
        return of[node], tuple(before), tuple(after)

    return {node: names.setdefault(around(node), len(names)) for node in graph}


def _edge_kinds(graph: "nx.DiGraph", of: dict[int, int]) -> Counter[tuple[int, int]]:
    return Counter((of[start], of[end]) for start, end in graph.edges)


def _parts(
    graph: "nx.DiGraph", of: dict[int, int], full: set[tuple[int, int]]
) -> Iterator["nx.DiGraph"]:
    """Yield the connected components of a graph without the edges of the kinds in `full`."""
    import networkx as nx

    bare = nx.DiGraph()
    bare.add_nodes_from((node, {"colour": colour}) for node, colour in of.items())
    bare.add_edges_from((a, b) for a, b in graph.edges if (of[a], of[b]) not in full)
    for nodes in nx.weakly_connected_components(bare):
        yield bare.subgraph(nodes).copy()


def _same_part(one: "nx.DiGraph", other: "nx.DiGraph", tries: list[int]) -> bool:
    from networkx.algorithms.isomorphism import DiGraphMatcher

    a, b = (dict(graph.nodes(data="colour")) for graph in (one, other))
    if Counter(a.values()) != Counter(b.values()):
        return False
    if len(a) == 1:
        return True
    matcher = DiGraphMatcher(one, other)
    legal = matcher.syntactic_feasibility

    def feasible(node: int, other_node: int) -> bool:
        if a[node] != b[other_node]:
            return False
        tries[0] += 1
        if tries[0] > MAX_TRIES:
            raise PlanError(f"TooComplex: the plans could not be compared in {MAX_TRIES} tries")
        return bool(legal(node, other_node))

    matcher.syntactic_feasibility = feasible
    return bool(matcher.is_isomorphic())
