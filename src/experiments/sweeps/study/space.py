"""A search space: the values that each config key may take, independent of the sampler."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Value = str | int | float | bool | None
# A space with at most this many cells is checked cell by cell, a larger one value by value.
_CHECKED_CELLS = 64


@dataclass(frozen=True)
class Choice:
    """One of several listed values."""

    values: tuple[Value, ...]
    texts: tuple[str, ...]
    """The same values as they are written in an override."""


@dataclass(frozen=True)
class Integers:
    """Every `step`-th integer from `low` to `high`, both included."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True)
class Reals:
    """Any real number from `low` to `high`."""

    low: float
    high: float
    log: bool = False


Axis = Choice | Integers | Reals
Space = Mapping[str, Axis]
Parameters = dict[str, Value]


def values(axis: Axis) -> list[Value] | None:
    """Return every value of an axis in order; None if there are infinitely many.

    >>> values(Integers(1, 8, 3))
    [1, 4, 7]
    """
    if isinstance(axis, Choice):
        return list(axis.values)
    if isinstance(axis, Integers):
        return list(range(axis.low, axis.high + 1, axis.step))
    return [axis.low] if axis.low == axis.high else None


def cells(space: Space) -> Iterator[Parameters] | None:
    """Return every combination, the last key varying fastest; None if infinitely many."""
    axes = [values(axis) for axis in space.values()]
    finite = [axis for axis in axes if axis is not None]
    if len(finite) < len(axes):
        return None
    return (dict(zip(space, cell, strict=True)) for cell in itertools.product(*finite))


def size(space: Space) -> int | None:
    """Return the number of combinations; None if there are infinitely many."""
    total = 1
    for axis in space.values():
        axis_values = values(axis)
        if axis_values is None:
            return None
        total *= len(axis_values)
    return total


def sample(space: Space) -> tuple[list[Parameters], bool]:
    """Return the parameter sets to check before a search: every cell if there are few.

    Otherwise few sets that cover each choice's values and each interval's ends.

    Returns:
        The sets, and whether they are all cells of the space.
    """
    count = size(space)
    if count is not None and count <= _CHECKED_CELLS:
        return list(cells(space) or ()), True
    ends = {name: _ends(axis) for name, axis in space.items()}
    first = {name: values[0] for name, values in ends.items()}
    others = [{**first, name: v} for name, values in ends.items() for v in values[1:]]
    return [first, *others], False


def _ends(axis: Axis) -> list[Value]:
    if isinstance(axis, Choice):
        return list(axis.values)
    return [axis.low, axis.high] if axis.low != axis.high else [axis.low]


def text(axis: Axis, value: Value) -> str:
    """Return a value as it is written in an override."""
    if isinstance(axis, Choice):
        return axis.texts[[key([v]) for v in axis.values].index(key([value]))]
    return repr(value)


def key(parameters: Any) -> str:
    """Return a text that is equal for equal parameters; 1, 1.0 and true give different texts.

    >>> key({"a": 1, "b": None}) == key({"b": None, "a": 1})
    True
    """
    return json.dumps(parameters, sort_keys=True)


def describe(space: Space) -> dict[str, str]:
    """Return the identity of a space: each key with its kind and limits."""
    return {name: _describe(axis) for name, axis in sorted(space.items())}


def _describe(axis: Axis) -> str:
    if isinstance(axis, Choice):
        return f"choice({', '.join(axis.texts)})"
    kind = "range" if isinstance(axis, Integers) else "interval"
    step = f", step={axis.step}" if isinstance(axis, Integers) and axis.step != 1 else ""
    return f"{kind}({axis.low}, {axis.high}{step}{', log' if axis.log else ''})"
