"""Parse one call, or one list of calls, at a position in a text.

Every reader takes a text, an index, the call format and the offered tools (for types that the text
leaves open). It returns the calls and the end index, or None if the text does not follow the
format. No reader executes anything, and each takes time linear in the text that it parses.
"""

import ast
from collections.abc import Callable, Sequence
from typing import Any

from experiments.toolcalls.parser.argument_values import (
    after_blanks,
    literal,
    load_json,
    load_literal,
    parse_expression,
    read_json,
)
from experiments.toolcalls.parser.forms import CallForm

Call = dict[str, Any]
Tools = Sequence[dict[str, Any]] | None
Read = tuple[list[Call], int] | None
_MAX_NAME_LENGTH = 256
_PYTHON_CONSTANTS = {"True": True, "False": False, "None": None}


def read(text: str, start: int, form: CallForm, tools: Tools) -> Read:
    """Parse the format's body at index `start`; return (calls, end index) or None."""
    return _READERS[form.body](text, start, form, tools)


def _json(text: str, start: int, form: CallForm, tools: Tools) -> Read:
    parsed = read_json(text, start) or _read_python_value(text, start, form)
    if parsed is None:
        return None
    value, end = parsed
    if isinstance(value, list) != form.listed or value == []:
        return None
    calls = [json_call(item, form) for item in (value if form.listed else [value])]
    valid_calls = [call for call in calls if call is not None]
    return (valid_calls, end) if len(valid_calls) == len(calls) else None


def _read_python_value(text: str, start: int, form: CallForm) -> tuple[Any, int] | None:
    """Parse a value that the template prints in Python syntax, up to the closing marker."""
    if not form.as_python:
        return None
    end = _closing_index(text, start, form)
    value = load_literal(text[start:end])
    return None if value is None else (value, end)


def json_call(value: Any, form: CallForm) -> Call | None:
    """Return the call in an object with exactly the format's keys, or None if there is none."""
    if not isinstance(value, dict) or set(value) - _allowed_keys(form):
        return None
    if form.wrapper:
        value = value.get(form.wrapper)
        inner_keys = {form.name_key, form.arguments_key, *form.extra_keys}
        if not isinstance(value, dict) or set(value) - inner_keys:
            return None
    name, arguments = value.get(form.name_key), value.get(form.arguments_key)
    if form.arguments_as_text and isinstance(arguments, str):
        arguments = load_json(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}


def _allowed_keys(form: CallForm) -> set[str]:
    call_keys = {form.wrapper} if form.wrapper else {form.name_key, form.arguments_key}
    return call_keys | set(form.extra_keys)


def _named_json(text: str, start: int, form: CallForm, tools: Tools) -> Read:
    marker = form.name_end.strip()
    name_end = text.find(marker or "{", start, start + _MAX_NAME_LENGTH)
    if name_end < 0:
        return None
    name = text[start:name_end].strip()
    parsed = read_json(text, name_end + len(marker))
    if not _is_name(name) or parsed is None or not isinstance(parsed[0], dict):
        return None
    return [{"name": name, "arguments": parsed[0]}], parsed[1]


def _arguments(text: str, position: int, form: CallForm, tools: Tools) -> Read:
    """Parse `NAME, KEY, value, KEY, value`, each between the format's markers."""
    name_end, key_marker = form.name_end.strip(), form.key_before.strip()
    terminators = [name_end] if name_end else [key_marker, (form.after + form.end).strip()]
    terminator_indices = [
        text.find(terminator, position, position + _MAX_NAME_LENGTH)
        for terminator in terminators
        if terminator
    ]
    name_stop = min((candidate for candidate in terminator_indices if candidate >= 0), default=-1)
    if name_stop < 0 or not _is_name(name := text[position:name_stop].strip()):
        return None
    parameter_types = _parameter_types(tools, name)
    arguments: dict[str, Any] = {}
    position = after_blanks(text, name_stop + len(name_end))
    while key_marker and text.startswith(key_marker, position):
        pair = _read_pair(text, position + len(key_marker), form)
        if pair is None or pair[0] in arguments:
            return None
        key, value, position = pair
        arguments[key] = typed(value, parameter_types.get(key))
        position = after_blanks(text, position)
    return [{"name": name, "arguments": arguments}], position


def _read_pair(text: str, start: int, form: CallForm) -> tuple[str, str, int] | None:
    key_end, value_end = form.key_end.strip(), form.value_end.strip()
    key_stop = text.find(key_end, start, start + _MAX_NAME_LENGTH)
    if key_stop < 0:
        return None
    value_start = key_stop + len(key_end)
    value_start += len(_trailing_blanks(form.key_end)) * text.startswith(
        _trailing_blanks(form.key_end), value_start
    )
    value_stop = text.find(value_end, value_start)
    if value_stop < 0:
        return None
    value = text[value_start:value_stop]
    leading_blanks = form.value_end[: len(form.value_end) - len(form.value_end.lstrip())]
    return (
        text[start:key_stop].strip(),
        value.removesuffix(leading_blanks),
        value_stop + len(value_end),
    )


def _trailing_blanks(marker: str) -> str:
    return marker[len(marker.rstrip()) :]


def typed(text: str, types: set[str] | None) -> Any:
    """Return the value of an argument's text, for formats that write text and JSON alike.

    >>> typed("7", {"string"}), typed("7", {"integer"}), typed("True", {"boolean"})
    ('7', 7, True)
    >>> typed("7", None), typed("seven", None)
    (7, 'seven')

    Args:
        text: the argument as written.
        types: JSON Schema types of the parameter; None if unknown.
    """
    if types == {"string"}:
        return text
    value = _PYTHON_CONSTANTS.get(text, _NO_VALUE)
    if value is _NO_VALUE:
        value = load_json(text)
        if value is None and text.strip() != "null":
            value = load_literal(text) if text[:1] in ("{", "[") else _NO_VALUE
            value = _NO_VALUE if value is None else value
    if value is _NO_VALUE or (types and "string" in types and not _has_type(value, types)):
        return text
    return value


_NO_VALUE = object()


def _has_type(value: Any, types: set[str]) -> bool:
    if isinstance(value, bool) or value is None:
        return ("null" if value is None else "boolean") in types
    if isinstance(value, int | float):
        return "number" in types or ("integer" in types and float(value).is_integer())
    kind = "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
    return kind in types


def _parameter_types(tools: Tools, name: str) -> dict[str, set[str]]:
    """Return the types of a tool's parameters that its schema specifies."""
    for tool in tools or ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and function.get("name") == name:
            schema = function.get("parameters")
            properties = schema.get("properties") if isinstance(schema, dict) else None
            entries = properties.items() if isinstance(properties, dict) else ()
            return {key: types for key, parameter in entries if (types := _types(parameter))}
    return {}


def _types(schema: Any) -> set[str]:
    """Return the JSON types that a schema allows in any of its alternatives."""
    if not isinstance(schema, dict):
        return set()
    declared = schema.get("type")
    types = (
        {declared}
        if isinstance(declared, str)
        else {item for item in declared or () if isinstance(item, str)}
    )
    for key in ("anyOf", "oneOf"):
        for alternative in schema.get(key) or ():
            types |= _types(alternative)
    if not types and isinstance(schema.get("enum"), list):
        types |= {"string"} if all(isinstance(value, str) for value in schema["enum"]) else set()
    return types


def _python(text: str, start: int, form: CallForm, tools: Tools) -> Read:
    end = _closing_index(text, start, form)
    body = parse_expression(text[start:end])
    if not isinstance(body, ast.List) or not body.elts:
        return None
    try:
        return [_python_call(element) for element in body.elts], end
    except ValueError:
        return None


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call with keyword arguments")
    arguments = {
        keyword.arg: literal(keyword.value) for keyword in node.keywords if keyword.arg is not None
    }
    if len(arguments) != len(node.keywords):
        raise ValueError("an argument is repeated or has no name")
    return {"name": _dotted_name(node.func), "arguments": arguments}


def _dotted_name(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("no name")
    return ".".join([node.id, *reversed(parts)])


def _closing_index(text: str, start: int, form: CallForm) -> int:
    """Return the start of the closing marker, or the end of the text if there is none."""
    marker = (form.after + form.end).strip()
    index = text.find(marker, start) if marker else -1
    return index if index >= 0 else len(text)


def _is_name(name: str) -> bool:
    return bool(name) and not set(name) & set('{}<>"\n')


_READERS: dict[str, Callable[[str, int, CallForm, Tools], Read]] = {
    "json": _json,
    "named_json": _named_json,
    "arguments": _arguments,
    "python": _python,
}
