"""Parse text as JSON or as a Python literal, keeping types and characters.

Hermes writes its calls and tools as Python dicts, others as JSON; JSON is tried first. Numbers have
the value that Python parses: 1.50 becomes the double 1.5. A Python tuple becomes a list, since JSON
has no tuples; any other value unknown to JSON is refused.
"""

import ast
import json
import math
import re
import warnings
from typing import Any

# A complete string, which is skipped, or a comma followed only by white space and a closing
# bracket. The final quote is optional, so that no start is tried twice.
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*+[}\]])', re.DOTALL)

# Python's parser needs about 500 bytes per character of a list of digits.
_MAX_PYTHON_LENGTH = 500_000


def parse(text: str) -> Any:
    """Parse JSON, otherwise a Python literal.

    Raises:
        ValueError: the text is neither.
    """
    try:
        return json.loads(text)
    except ValueError:
        return python(text)


def python(text: str) -> Any:
    """Parse a Python literal that JSON can represent.

    Raises:
        ValueError: the text is not such a literal, or is longer than half a million characters.
    """
    if len(text) > _MAX_PYTHON_LENGTH:
        raise ValueError(f"a Python literal of {len(text)} characters is too long to parse")
    try:
        with warnings.catch_warnings():
            # "\d" in a literal causes a compiler warning; parsing must not depend on warning
            # filters.
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, MemoryError) as error:
        raise ValueError(f"neither JSON nor a Python literal: {error}") from None
    return _jsonable(value)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _jsonable(item) for key, item in value.items()}
    raise ValueError(f"a Python literal that JSON cannot represent: {type(value).__name__}")


def objects(text: str) -> list[Any]:
    """Parse the JSON objects that follow each other in a text, as in Glaive's tools.

    Commas before a closing bracket (Glaive v1) are ignored.

    >>> objects('Use these - {"a": 1}  {"b": [2,]}')
    [{'a': 1}, {'b': [2]}]

    Raises:
        ValueError: text after an opening brace is not JSON.
    """
    try:
        return _objects(text)
    except ValueError:
        return _objects(_TRAILING_COMMA.sub(lambda match: match[1] or "", text))


def _objects(text: str) -> list[Any]:
    decoder = json.JSONDecoder()
    values = []
    start = text.find("{")
    while start >= 0:
        value, end = decoder.raw_decode(text, start)
        values.append(value)
        start = text.find("{", end)
    return values


def fault(value: Any) -> str | None:
    """Return the rejection reason for a value that cannot be used, or None.

    NUL characters and unpaired surrogates cannot be tokenised; NaN and infinities are not JSON.
    """
    if isinstance(value, str):
        return text_fault(value)
    if isinstance(value, dict):
        for key, item in value.items():
            reason = text_fault(key) if isinstance(key, str) else "not_text"
            if type(item) is not int and not reason:
                reason = text_fault(item) if type(item) is str else fault(item)
            if reason:
                return reason
    elif isinstance(value, list):
        for item in value:
            if reason := fault(item):
                return reason
    elif isinstance(value, float) and not math.isfinite(value):
        return "malformed_call"
    return None


def text_fault(text: str) -> str | None:
    """Return `control_character`, `not_text`, or None if the text is valid."""
    if "\0" in text:
        return "control_character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "not_text"
    return None
