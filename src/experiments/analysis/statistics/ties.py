"""Pairs of tied arms in, groups of mutually tied arms and words for them out.

Being tied is not transitive: A may tie with B and B with C while A and C differ. So a group holds
only arms of which each is tied with each other one, and an arm may stand in two groups.
"""

from collections.abc import Iterable, Sequence


def tied_groups(arms: Sequence[str], ties: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the largest groups of mutually tied arms, by `networkx.find_cliques`.

    >>> tied_groups(["a", "b", "c", "d"], [("a", "b"), ("b", "c")])
    [['a', 'b'], ['b', 'c'], ['d']]

    Args:
        arms: all arms, best first.
        ties: pairs of arms that are tied.

    Returns:
        Groups in the order of their best arm, each in the order of `arms`; an arm that is tied
        with no other is a group of its own.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(arms)
    graph.add_edges_from(ties)
    order = {arm: place for place, arm in enumerate(arms)}
    groups = [sorted(group, key=order.__getitem__) for group in networkx.find_cliques(graph)]
    return sorted(groups, key=lambda group: [order[arm] for arm in group])


def tie_words(groups: Sequence[Sequence[str]], margin: str) -> str:
    """Say the groups in a sentence.

    >>> tie_words([["r=16", "r=4", "r=8"], ["r=1"]], "0.01 nats")
    'r=16, r=4 and r=8 are tied within 0.01 nats; r=1 is tied with no other arm.'

    Args:
        groups: of `tied_groups`.
        margin: the margin with its unit.
    """
    parts = []
    for group in groups:
        if len(group) == 1:
            parts.append(f"{group[0]} is tied with no other arm")
        else:
            names = f"{', '.join(group[:-1])} and {group[-1]}"
            parts.append(f"{names} are tied within {margin}")
    return "; ".join(parts) + "."
