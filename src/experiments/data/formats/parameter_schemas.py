"""Convert a tool's parameters, as described in a data set, to a JSON schema of type object.

There are two conversions. `plain` takes a JSON schema or something close to one (`"type": "dict"`,
a property map without `properties`). `flat` (xlam, When2Call) takes names with a type in Python
syntax; a parameter is optional if it is described so or has a default, unless there is a list of
required parameters.
"""

import re
from functools import lru_cache
from typing import Any

from experiments.data.formats.rejection import Row

JSON_TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}
_NAMES = {
    **dict.fromkeys(("str", "string", "text", "date", "datetime", "time", "url", "enum"), "string"),
    **dict.fromkeys(("int", "integer"), "integer"),
    **dict.fromkeys(("float", "number", "double"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("dict", "object"), "object"),
    **dict.fromkeys(("list", "array", "set", "tuple", "sequence", "iterable"), "array"),
    **dict.fromkeys(("none", "null"), "null"),
}
_OF_ITEMS = {"list", "set", "sequence", "iterable"}
_BRANCHES = {"anyOf", "oneOf", "allOf"}
# Keywords whose value is a schema or a map of schemas: together with `"type": "object"` they are
# keywords. The first group, which no parameter is named after, are keywords anywhere.
_OF_OBJECTS = {
    *("additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames"),
    *("dependentRequired", "dependentSchemas"),
}
_OF_SCHEMAS = _OF_OBJECTS | {"if", "then", "else", "not", "definitions", "dependencies"}
_MAPS_OF_SCHEMAS = {
    *("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"),
}
_SCHEMAS = {
    *("items", "additionalProperties", "unevaluatedProperties", "propertyNames", "contains"),
    *("if", "then", "else", "not", "unevaluatedItems"),
}
_LISTS_OF_SCHEMAS = {*_BRANCHES, "prefixItems"}
_OF_VALUES = {"default", "const"}
_OF_TEXT = {"title", "description", "$comment"}
_OF_NUMBERS = {"minProperties", "maxProperties"}
_GENERIC = re.compile(r"(?:typing\.)?(\w+)\s*\[(.*)\]", re.DOTALL)
_OPTIONAL = re.compile(r",\s*(?:optional|default\b.*)$", re.IGNORECASE | re.DOTALL)


def plain(parameters: Row, beside: list[Any] | None = None) -> Row:
    """Convert a near JSON schema to a valid one; everything except types is kept verbatim.

    Args:
        parameters: the schema, or a map of properties.
        beside: a list of required parameters stored outside of the schema.
    """
    if isinstance(parameters.get("properties"), dict):
        out = _node({"type": "object"} | parameters)
    else:
        keywords = _keywords(parameters)
        inside = {k: v for k, v in parameters.items() if k not in keywords and v is not None}
        out = {"type": "object", "properties": {k: _node(v) for k, v in inside.items()}}
        for key in keywords:
            if key not in ("type", "properties"):
                _keep(out, key, parameters[key])
    if beside is not None and "required" not in out:
        out["required"] = beside
    return out


def _keywords(parameters: Row) -> list[str]:
    """Return which keys are JSON schema keywords in a map without `properties`."""
    sure = [key for key, value in parameters.items() if _is_keyword(key, value)]
    kind = parameters.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    typed = any(isinstance(k, str) and _NAMES.get(k.strip().lower()) == "object" for k in kinds)
    if not typed and not sure:
        return []
    return [
        key
        for key, value in parameters.items()
        if key in sure
        or (isinstance(value, bool | dict) and key in _OF_SCHEMAS)
        or (typed and not isinstance(value, dict))
        or (typed and key in _OF_VALUES and "type" not in value)
    ]


def _is_keyword(key: str, value: Any) -> bool:
    """Return whether this can only be a keyword, whatever the other keys are."""
    return (
        (key in _BRANCHES | {"required", "enum"} and isinstance(value, list))
        or (key in _OF_OBJECTS and (isinstance(value, bool | dict)))
        or (key in _OF_NUMBERS and isinstance(value, int))
        or (key in _OF_TEXT and isinstance(value, str) and not _is_type(value))
        or key.startswith("$")
    )


def _is_type(text: str) -> bool:
    """Return whether a text is a type, as in `{"title": "str", "year": "int, optional"}`."""
    word = re.match(r"(?:typing\.)?(\w*)", text.strip().lower())
    return word is not None and word[1] in {*_NAMES, *_OF_ITEMS, "optional", "union", "any"}


def _node(node: Any) -> Row:
    """Convert the types in a schema to JSON types; everything else is kept, in its order.

    Keys without a value are dropped: Arrow adds them where rows differ, and a template would print
    them. Only `default` and `const` may be null.
    """
    if isinstance(node, bool):  # a template reads the type of a schema
        return {} if node else {"not": {}}
    if not isinstance(node, dict):
        return python_type(str(node))[0]
    out: Row = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, str):
            out |= {"type": value} if value in JSON_TYPES else python_type(value)[0]
        else:
            _keep(out, key, value)
    return out


def _keep(out: Row, key: str, value: Any) -> None:
    """Copy a schema keyword, converting the schemas in its value to JSON types."""
    if key in _MAPS_OF_SCHEMAS and isinstance(value, dict):
        out[key] = {k: _node(v) for k, v in value.items() if v is not None}
    elif key in _SCHEMAS and isinstance(value, dict):
        out[key] = _node(value)
    elif key in _LISTS_OF_SCHEMAS and isinstance(value, list):
        out[key] = [_node(v) if isinstance(v, dict) else v for v in value]
    elif value is not None or key in _OF_VALUES:
        out[key] = value


def flat(parameters: Row, beside: list[Any] | None = None) -> Row:
    """Convert `name -> {type, description, default}`, bare or wrapped in `properties`.

    Args:
        parameters: the map, or the wrapper.
        beside: a list of required parameters stored outside of both; a list in the wrapper takes
            precedence.
    """
    required = beside
    if isinstance(parameters.get("properties"), dict):
        if isinstance(parameters.get("required"), list):
            required = parameters["required"]
        parameters = parameters["properties"]
    else:
        keywords = _keywords(parameters)
        parameters = {k: v for k, v in parameters.items() if k not in keywords}
    properties, needed = {}, []
    for name, given in parameters.items():
        if given is None:  # inserted by Arrow, see _node
            continue
        described = given if isinstance(given, dict) else {"type": str(given)}
        properties[name], optional = _flat_parameter(described)
        if not optional and "default" not in described:
            needed.append(name)
    if required is not None:
        needed = [name for name in required if name in properties]
    return {"type": "object", "properties": properties, "required": needed}


def _flat_parameter(given: Row) -> tuple[Row, bool]:
    kind, optional = given.get("type"), False
    typed: Row = {"type": kind}
    if kind is None or isinstance(kind, str):
        typed, optional = python_type(kind or "")
    rest = {k: v for k, v in given.items() if k not in ("type", "default")}
    default = given.get("default")
    kept = {} if default is None or default == "" else {"default": default}
    return typed | _node(rest) | kept, optional


def python_type(text: str) -> tuple[Row, bool]:
    """Parse a type written in Python syntax; an unknown type becomes a string.

    Returns:
        The JSON schema, and whether the text marks the parameter as optional.

    >>> python_type("List[Union[int, float]], optional")
    ({'type': 'array', 'items': {'anyOf': [{'type': 'integer'}, {'type': 'number'}]}}, True)
    >>> python_type("str, default='elonmusk'")
    ({'type': 'string'}, True)
    """
    schema, optional = _type(text)
    return dict(schema), optional


@lru_cache(maxsize=4096)
def _type(text: str) -> tuple[Row, bool]:
    text = text.strip()
    base = _OPTIONAL.sub("", _OPTIONAL.sub("", text)).strip()
    optional = base != text
    if generic := _GENERIC.fullmatch(base):
        outer, inner = generic[1].lower(), generic[2]
        if outer == "optional":
            return _type(inner)[0], True
        if outer == "union":
            return _union(inner, optional)
        if outer in _OF_ITEMS:
            return {"type": "array", "items": _type(inner)[0]}, optional
        base = outer
    word = base.lower().removeprefix("typing.")
    if word == "any":
        return {}, optional
    return {"type": _NAMES.get(word, "string")}, optional


def _union(inner: str, optional: bool) -> tuple[Row, bool]:
    branches = []
    for part in _parts(inner):
        if part.strip().lower() in ("none", "nonetype", "null"):
            optional = True
        else:
            branches.append(_type(part)[0])
    if not branches:
        return {"type": "null"}, True
    return (branches[0] if len(branches) == 1 else {"anyOf": branches}), optional


def _parts(text: str) -> list[str]:
    """Split a text at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
