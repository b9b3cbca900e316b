"""Group mutually tied arms and describe the groups in a sentence.

Ties are not transitive: A may tie with B and B with C while A and C differ. A group therefore
contains only arms that are all tied with each other, and an arm may be in several groups.
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
        Groups in the order of their best arm, each in the order of `arms`. An arm that is tied with
        no other forms a group of one.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(arms)
    graph.add_edges_from(ties)
    order = {arm: index for index, arm in enumerate(arms)}
    groups = [sorted(group, key=order.__getitem__) for group in networkx.find_cliques(graph)]
    return sorted(groups, key=lambda group: [order[arm] for arm in group])


def tie_words(groups: Sequence[Sequence[str]], margin: str) -> str:
    """Describe the groups in a sentence.

    >>> tie_words([["r=16", "r=4", "r=8"], ["r=1"]], "0.01 nats")
    'r=16, r=4 and r=8 are tied within 0.01 nats; r=1 is tied with no other arm.'

    Args:
        groups: the result of `tied_groups`.
        margin: the margin with its unit.
    """
    sentences = []
    for group in groups:
        if len(group) == 1:
            sentences.append(f"{group[0]} is tied with no other arm")
        else:
            names = f"{', '.join(group[:-1])} and {group[-1]}"
            sentences.append(f"{names} are tied within {margin}")
    return "; ".join(sentences) + "."
