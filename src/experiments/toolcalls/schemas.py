"""Validate values against JSON schemas; a broken schema is reported instead of raised.

Validity is that of JSON Schema draft 2020-12, as implemented by the `jsonschema` library. External
references are never fetched: scoring must not depend on a network.
"""

import functools
import json
import re
from typing import Any

import jsonschema
import referencing
import referencing.exceptions

# In draft 2020-12, 1.0 is an integer and True is not, so bool needs no special case.
_Validator = jsonschema.Draft202012Validator
_VALIDATION_ERRORS = (
    jsonschema.SchemaError,
    referencing.exceptions.Unresolvable,
    re.error,
    RecursionError,
    TypeError,
    ValueError,
)


def is_valid(schema: Any, value: Any) -> bool:
    """Return whether a value is valid; False if the schema itself is broken.

    >>> is_valid({"type": "integer"}, 3), is_valid({"type": "integre"}, 3)
    (True, False)
    """
    text = _text(schema)
    if text is None or problem(schema) is not None:
        return False
    try:
        return bool(_validator(text).is_valid(value))
    except _VALIDATION_ERRORS:
        return False


def problem(schema: Any) -> str | None:
    """Return what is wrong with a schema, or None if it is usable.

    >>> problem({"type": "object"})
    >>> problem({"type": "integre"})
    "'integre' is not valid under any of the given schemas"
    """
    text = _text(schema)
    return "it is not valid JSON" if text is None else _problem(text)


def _text(schema: Any) -> str | None:
    try:
        return json.dumps(schema, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None


@functools.lru_cache(maxsize=4096)
def _problem(text: str) -> str | None:
    schema = json.loads(text)
    try:
        _Validator.check_schema(schema)
        _validator(text).is_valid({})  # an unresolvable reference only fails when it is used
    except jsonschema.SchemaError as error:
        return str(error.message)
    except _VALIDATION_ERRORS as error:
        return f"{type(error).__name__}: {error}"
    return None


@functools.lru_cache(maxsize=4096)
def _validator(text: str) -> Any:
    return _Validator(json.loads(text), registry=referencing.Registry())
