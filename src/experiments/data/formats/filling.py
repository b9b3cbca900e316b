"""Remove the nulls that Arrow inserts into arguments.

A table has one set of columns: if the arguments of calls are stored as objects, each call gets the
keys of all other calls, with null values. Arguments count as filled if a name that their tool does
not know has a null value; every null in them that the schema neither requires nor allows is then
removed. In all other arguments a null is a label and is kept.
"""

from typing import Any

from experiments.data.formats import names
from experiments.data.formats.rejection import Row

_ANY_OF = ("anyOf", "oneOf")
_TYPE_KEYWORDS = ("type", "enum", "const", "$ref", "allOf", *_ANY_OF)


def is_filled(arguments: Row, schema: Row) -> bool:
    """Return whether arguments have nulls under names that the schema excludes."""
    known = schema.get("properties") or {}
    return any(
        item is None and key not in known and not _is_label(key, schema)
        for key, item in arguments.items()
    )


def removed(value: Any, schema: Any) -> Any:
    """Return arguments, or a part of them, without the nulls that their schema excludes.

    Args:
        value: the arguments; not modified.
        schema: the JSON schema of the value.
    """
    if not isinstance(schema, dict):
        return value
    if isinstance(value, list):
        return [removed(item, schema.get("items")) for item in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    return {
        key: removed(item, properties.get(key))
        for key, item in value.items()
        if item is not None or _is_label(key, schema)
    }


def nulls(value: Any) -> int:
    """Return the number of nulls in a value."""
    if isinstance(value, dict | list):
        return sum(map(nulls, value.values() if isinstance(value, dict) else value))
    return value is None


def _is_label(key: str, schema: Row) -> bool:
    """Return whether null is a genuine value for this key."""
    if key in (schema.get("required") or []):
        return True
    if key in schema["properties"]:
        return _allows_null(schema["properties"][key])
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        matching_schemas = [
            subschema for pattern, subschema in patterns.items() if names.matches(pattern, key)
        ]
        if matching_schemas:
            return all(map(_allows_null, matching_schemas))
    additional = schema.get("additionalProperties")
    if additional is None:
        return any(
            schema.get(keyword) for keyword in ("patternProperties", "allOf", "$ref", *_ANY_OF)
        )
    return _allows_null(additional)


def _allows_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return bool(schema)
    untyped = not any(keyword in schema for keyword in _TYPE_KEYWORDS)
    if untyped or schema.get("nullable") or schema.get("default", False) is None:
        return True
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return "null" in kinds
    if "enum" in schema or "const" in schema:
        return None in [*(schema.get("enum") or []), schema.get("const", False)]
    branches = [branch for keyword in _ANY_OF for branch in schema.get(keyword) or []]
    return not branches or any(map(_allows_null, branches))
