"""List the leaves of a nested mapping by their dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of each leaf; an empty mapping has none.

    >>> dict(leaves({"lora": {"r": 8, "extra": {}}, "seed": 0}))
    {'lora.r': 8, 'seed': 0}
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
