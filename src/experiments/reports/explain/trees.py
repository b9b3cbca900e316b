"""Compare two nested values and return the leaves that differ."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments import config

ABSENT = object()
"""Marks a key that one side does not have."""


@dataclass(frozen=True)
class DifferingLeaf:
    """A leaf that differs."""

    key: str
    a: Any
    b: Any
    origin_a: str | None = None
    origin_b: str | None = None
    """Where a config value came from, unless the user set it."""


@dataclass(frozen=True)
class Part:
    """The differences in one part of two records."""

    name: str
    rows: list[DifferingLeaf]
    same: int
    """Number of leaves that are the same in both."""


def part(
    name: str,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    origins: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Part:
    """Compare two trees leaf by leaf.

    >>> found = part("config", {"lora": {"r": 8, "on": ["q", "v"]}}, {"lora": {"on": ["v", "q"]}})
    >>> [row.key for row in found.rows], found.same
    (['lora.r'], 1)
    """
    one, other = dict(config.leaves(a)), dict(config.leaves(b))
    rows, same = [], 0
    for key in dict.fromkeys([*one, *other]):
        x, y = one.get(key, ABSENT), other.get(key, ABSENT)
        if equal(x, y):
            same += 1
        else:
            rows.append(DifferingLeaf(key, x, y, origins[0].get(key), origins[1].get(key)))
    return Part(name, rows, same)


def equal(a: Any, b: Any) -> bool:
    """Return whether two leaves are equal: lists in any order, nan equals nan, true is not 1.

    >>> equal([1, 2], [2, 1]), equal(float("nan"), float("nan")), equal(True, 1), equal(16, 16.0)
    (True, True, False, True)
    """
    if isinstance(a, list) and isinstance(b, list):
        return sorted(map(_text, a)) == sorted(map(_text, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
