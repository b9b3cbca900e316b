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
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}()]', re.DOTALL)
_WHITESPACE = re.compile(r"\s*")


def load_json(text: str) -> Any:
    """Parse strict JSON; return None if the text is invalid.

    NaN, infinities (including `1e999`), objects with a repeated key, and values nested deeper than
    MAX_DEPTH are refused.
    """
    if too_deep(text):
        return None
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
            object_pairs_hook=_unique_object,
        )
    except (ValueError, RecursionError):
        return None


def read_json(text: str, start: int) -> tuple[Any, int] | None:
    """Parse a strict JSON object or list inside a text; return (value, end index) or None.

    >>> read_json('f {"a": 1} and more', 2)
    ({'a': 1}, 10)

    Args:
        text: any text.
        start: index of the value, or of white space before it.
    """
    start = after_blanks(text, start)
    if text[start : start + 1] not in ("{", "["):
        return None
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return None if _is_deeper(value, MAX_DEPTH) else (value, end)


def after_blanks(text: str, start: int) -> int:
    """Return the index of the first character from `start` on that is not white space."""
    match = _WHITESPACE.match(text, start)
    return match.end() if match else start


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
    for match in _BRACKET_OR_STRING.finditer(text):
        symbol = match[0]
        depth += 1 if symbol in "[{(" else -1 if symbol in "]})" else 0
        if depth > MAX_DEPTH:
            return True
    return False


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parse_finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is not a number that all JSON parsers accept")
    return value


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return parsed


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_parse_finite, object_pairs_hook=_unique_object
)


def same_value(first: Any, second: Any) -> bool:
    """Compare two JSON values: 1 equals 1.0, but true is not 1 and "1" is not 1.

    >>> same_value({"a": [1, True]}, {"a": [1.0, True]}), same_value(True, 1)
    (True, False)
    """
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            same_value(first[key], second[key]) for key in first
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_value, first, second))
    return bool(first == second)
