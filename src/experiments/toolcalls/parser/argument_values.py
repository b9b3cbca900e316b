"""Parse JSON and Python literals in model output, strictly and within limits.

Functions return None for invalid text instead of raising, unless they list an error.
"""

import ast
import json
import math
import re
import warnings
from typing import Any

# Deeper values are not plausible arguments, and would exhaust Python's stack in code that traverses
# them.
MAX_DEPTH = 64
# ast keeps the syntax tree in memory, about a hundred bytes per byte of text.
MAX_LITERAL = 100_000
# Double-quoted text; an unclosed one extends to the end (otherwise each quote would scan the rest
# again).
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}()]', re.DOTALL)
_BLANK = re.compile(r"\s*")


def load_json(text: str) -> Any:
    """Parse strict JSON; return None if the text is invalid.

    NaN, infinities (including `1e999`), objects with a repeated key, and values nested deeper than
    MAX_DEPTH are refused.
    """
    if too_deep(text):
        return None
    try:
        return json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except (ValueError, RecursionError):
        return None


def read_json(text: str, at: int) -> tuple[Any, int] | None:
    """Parse a strict JSON object or list inside a text; return (value, end index) or None.

    >>> read_json('f {"a": 1} and more', 2)
    ({'a': 1}, 10)

    Args:
        text: any text.
        at: index of the value, or of white space before it.
    """
    at = after_blanks(text, at)
    if text[at : at + 1] not in ("{", "["):
        return None
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    return None if _deeper(value, MAX_DEPTH) else (value, end)


def after_blanks(text: str, at: int) -> int:
    """Return the index of the first character from `at` on that is not white space."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def load_literal(text: str) -> Any:
    """Parse a Python literal, also with JSON's true, false and null; return None if invalid.

    >>> load_literal("{'a': [1, true, None]}")
    {'a': [1, True, None]}
    """
    tree = parse_expression(text)
    if tree is None:
        return None
    try:
        return literal(tree)
    except ValueError:
        return None


def parse_expression(text: str) -> ast.expr | None:
    """Return the syntax tree of a Python expression without running it, or None if invalid."""
    if len(text) > MAX_LITERAL or too_deep(text) or "\0" in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a text
            return ast.parse(text.strip(), mode="eval").body
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def literal(tree: ast.expr) -> Any:
    """Return the value of a literal, also with JSON's true, false and null.

    Raises:
        ValueError: it is not a literal, or not one that JSON can represent (a set, bytes, nan).
    """
    try:
        value = ast.literal_eval(_JsonNames().visit(tree))
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("not a literal") from error
    return value


class _JsonNames(ast.NodeTransformer):
    """Converts `true`, `false` and `null` to their Python values."""

    VALUES = {"true": True, "false": False, "null": None}  # noqa: RUF012 - never changed

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self.VALUES[node.id]) if node.id in self.VALUES else node


def too_deep(text: str) -> bool:
    """Return whether brackets outside of double-quoted text are nested deeper than MAX_DEPTH."""
    depth = 0
    for match in _BRACKET.finditer(text):
        one = match[0]
        depth += 1 if one in "[{(" else -1 if one in "]})" else 0
        if depth > MAX_DEPTH:
            return True
    return False


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is not a number that all JSON parsers accept")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return made


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object)


def same_value(one: Any, other: Any) -> bool:
    """Compare two JSON values: 1 equals 1.0, but true is not 1 and "1" is not 1.

    >>> same_value({"a": [1, True]}, {"a": [1.0, True]}), same_value(True, 1)
    (True, False)
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)
