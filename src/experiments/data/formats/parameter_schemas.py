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
_JSON_TYPE_NAMES = {
    **dict.fromkeys(("str", "string", "text", "date", "datetime", "time", "url", "enum"), "string"),
    **dict.fromkeys(("int", "integer"), "integer"),
    **dict.fromkeys(("float", "number", "double"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("dict", "object"), "object"),
    **dict.fromkeys(("list", "array", "set", "tuple", "sequence", "iterable"), "array"),
    **dict.fromkeys(("none", "null"), "null"),
}
_ARRAY_TYPES = {"list", "set", "sequence", "iterable"}
_BRANCH_KEYWORDS = {"anyOf", "oneOf", "allOf"}
# Keywords whose value is a schema or a map of schemas: together with `"type": "object"` they are
# keywords. The first group, which no parameter is named after, are keywords anywhere.
_OBJECT_KEYWORDS = {
    *("additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames"),
    *("dependentRequired", "dependentSchemas"),
}
_SCHEMA_KEYWORDS = _OBJECT_KEYWORDS | {"if", "then", "else", "not", "definitions", "dependencies"}
_MAPS_OF_SCHEMAS = {
    *("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"),
}
_SCHEMAS = {
    *("items", "additionalProperties", "unevaluatedProperties", "propertyNames", "contains"),
    *("if", "then", "else", "not", "unevaluatedItems"),
}
_LISTS_OF_SCHEMAS = {*_BRANCH_KEYWORDS, "prefixItems"}
_VALUE_KEYWORDS = {"default", "const"}
_TEXT_KEYWORDS = {"title", "description", "$comment"}
_NUMBER_KEYWORDS = {"minProperties", "maxProperties"}
_GENERIC = re.compile(r"(?:typing\.)?(\w+)\s*\[(.*)\]", re.DOTALL)
_OPTIONAL = re.compile(r",\s*(?:optional|default\b.*)$", re.IGNORECASE | re.DOTALL)


def plain(parameters: Row, required: list[Any] | None = None) -> Row:
    """Convert a near JSON schema to a valid one; everything except types is kept verbatim.

    Args:
        parameters: the schema, or a map of properties.
        required: a list of required parameters stored outside of the schema.
    """
    if isinstance(parameters.get("properties"), dict):
        schema = _node({"type": "object"} | parameters)
    else:
        keywords = _keywords(parameters)
        properties = {
            parameter_name: value
            for parameter_name, value in parameters.items()
            if parameter_name not in keywords and value is not None
        }
        schema = {
            "type": "object",
            "properties": {
                parameter_name: _node(value) for parameter_name, value in properties.items()
            },
        }
        for key in keywords:
            if key not in ("type", "properties"):
                _copy_keyword(schema, key, parameters[key])
    if required is not None and "required" not in schema:
        schema["required"] = required
    return schema


def _keywords(parameters: Row) -> list[str]:
    """Return which keys are JSON schema keywords in a map without `properties`."""
    certain = [key for key, value in parameters.items() if _is_keyword(key, value)]
    kind = parameters.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    is_object = any(
        isinstance(type_name, str) and _JSON_TYPE_NAMES.get(type_name.strip().lower()) == "object"
        for type_name in kinds
    )
    if not is_object and not certain:
        return []
    return [
        key
        for key, value in parameters.items()
        if key in certain
        or (isinstance(value, bool | dict) and key in _SCHEMA_KEYWORDS)
        or (is_object and not isinstance(value, dict))
        or (is_object and key in _VALUE_KEYWORDS and "type" not in value)
    ]


def _is_keyword(key: str, value: Any) -> bool:
    """Return whether this can only be a keyword, whatever the other keys are."""
    return (
        (key in _BRANCH_KEYWORDS | {"required", "enum"} and isinstance(value, list))
        or (key in _OBJECT_KEYWORDS and (isinstance(value, bool | dict)))
        or (key in _NUMBER_KEYWORDS and isinstance(value, int))
        or (key in _TEXT_KEYWORDS and isinstance(value, str) and not _is_type(value))
        or key.startswith("$")
    )


def _is_type(text: str) -> bool:
    """Return whether a text is a type, as in `{"title": "str", "year": "int, optional"}`."""
    match = re.match(r"(?:typing\.)?(\w*)", text.strip().lower())
    return match is not None and match[1] in {
        *_JSON_TYPE_NAMES,
        *_ARRAY_TYPES,
        "optional",
        "union",
        "any",
    }


def _node(node: Any) -> Row:
    """Convert the types in a schema to JSON types; everything else is kept, in its order.

    Keys without a value are dropped: Arrow adds them where rows differ, and a template would print
    them. Only `default` and `const` may be null.
    """
    if isinstance(node, bool):  # a template reads the type of a schema
        return {} if node else {"not": {}}
    if not isinstance(node, dict):
        return python_type(str(node))[0]
    schema: Row = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, str):
            schema |= {"type": value} if value in JSON_TYPES else python_type(value)[0]
        else:
            _copy_keyword(schema, key, value)
    return schema


def _copy_keyword(schema: Row, key: str, value: Any) -> None:
    """Copy a schema keyword, converting the schemas in its value to JSON types."""
    if key in _MAPS_OF_SCHEMAS and isinstance(value, dict):
        schema[key] = {k: _node(v) for k, v in value.items() if v is not None}
    elif key in _SCHEMAS and isinstance(value, dict):
        schema[key] = _node(value)
    elif key in _LISTS_OF_SCHEMAS and isinstance(value, list):
        schema[key] = [_node(v) if isinstance(v, dict) else v for v in value]
    elif value is not None or key in _VALUE_KEYWORDS:
        schema[key] = value


def flat(parameters: Row, outer_required: list[Any] | None = None) -> Row:
    """Convert `name -> {type, description, default}`, bare or wrapped in `properties`.

    Args:
        parameters: the map, or the wrapper.
        outer_required: a list of required parameters stored outside of both; a list in the wrapper
            takes precedence.
    """
    required = outer_required
    if isinstance(parameters.get("properties"), dict):
        if isinstance(parameters.get("required"), list):
            required = parameters["required"]
        parameters = parameters["properties"]
    else:
        keywords = _keywords(parameters)
        parameters = {k: v for k, v in parameters.items() if k not in keywords}
    properties, required_names = {}, []
    for name, parameter in parameters.items():
        if parameter is None:  # inserted by Arrow, see _node
            continue
        specification = parameter if isinstance(parameter, dict) else {"type": str(parameter)}
        properties[name], optional = _flat_parameter(specification)
        if not optional and "default" not in specification:
            required_names.append(name)
    if required is not None:
        required_names = [name for name in required if name in properties]
    return {"type": "object", "properties": properties, "required": required_names}


def _flat_parameter(parameter: Row) -> tuple[Row, bool]:
    kind, optional = parameter.get("type"), False
    schema: Row = {"type": kind}
    if kind is None or isinstance(kind, str):
        schema, optional = python_type(kind or "")
    rest = {key: value for key, value in parameter.items() if key not in ("type", "default")}
    default = parameter.get("default")
    kept_default = {} if default is None or default == "" else {"default": default}
    return schema | _node(rest) | kept_default, optional


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
    without_optional = _OPTIONAL.sub("", _OPTIONAL.sub("", text)).strip()
    optional = without_optional != text
    if generic := _GENERIC.fullmatch(without_optional):
        outer_type, inner_type = generic[1].lower(), generic[2]
        if outer_type == "optional":
            return _type(inner_type)[0], True
        if outer_type == "union":
            return _union(inner_type, optional)
        if outer_type in _ARRAY_TYPES:
            return {"type": "array", "items": _type(inner_type)[0]}, optional
        without_optional = outer_type
    type_name = without_optional.lower().removeprefix("typing.")
    if type_name == "any":
        return {}, optional
    return {"type": _JSON_TYPE_NAMES.get(type_name, "string")}, optional


def _union(member_types: str, optional: bool) -> tuple[Row, bool]:
    branches = []
    for part in _parts(member_types):
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
    for index, character in enumerate(text):
        depth += (character in "[(") - (character in "])")
        if character == "," and not depth:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
