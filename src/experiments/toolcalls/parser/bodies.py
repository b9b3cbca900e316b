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
_LONGEST_NAME = 256
_PYTHON_WORDS = {"True": True, "False": False, "None": None}


def read(text: str, at: int, form: CallForm, tools: Tools) -> Read:
    """Parse the format's body at index `at`; return (calls, end index) or None."""
    return _READERS[form.body](text, at, form, tools)


def _json(text: str, at: int, form: CallForm, tools: Tools) -> Read:
    found = read_json(text, at) or _printed(text, at, form)
    if found is None:
        return None
    value, end = found
    if isinstance(value, list) != form.listed or value == []:
        return None
    calls = [json_call(one, form) for one in (value if form.listed else [value])]
    whole = [call for call in calls if call is not None]
    return (whole, end) if len(whole) == len(calls) else None


def _printed(text: str, at: int, form: CallForm) -> tuple[Any, int] | None:
    """Parse a value that the template prints in Python syntax, up to the closing marker."""
    if not form.as_python:
        return None
    end = _closing(text, at, form)
    value = load_literal(text[at:end])
    return None if value is None else (value, end)


def json_call(value: Any, form: CallForm) -> Call | None:
    """Return the call in an object with exactly the format's keys, or None if there is none."""
    if not isinstance(value, dict) or set(value) - _keys(form):
        return None
    if form.wrapper:
        value = value.get(form.wrapper)
        inner = {form.name_key, form.arguments_key, *form.extra_keys}
        if not isinstance(value, dict) or set(value) - inner:
            return None
    name, arguments = value.get(form.name_key), value.get(form.arguments_key)
    if form.arguments_as_text and isinstance(arguments, str):
        arguments = load_json(arguments)
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}


def _keys(form: CallForm) -> set[str]:
    own = {form.wrapper} if form.wrapper else {form.name_key, form.arguments_key}
    return own | set(form.extra_keys)


def _named_json(text: str, at: int, form: CallForm, tools: Tools) -> Read:
    mark = form.name_end.strip()
    until = text.find(mark or "{", at, at + _LONGEST_NAME)
    if until < 0:
        return None
    name = text[at:until].strip()
    found = read_json(text, until + len(mark))
    if not _is_name(name) or found is None or not isinstance(found[0], dict):
        return None
    return [{"name": name, "arguments": found[0]}], found[1]


def _arguments(text: str, at: int, form: CallForm, tools: Tools) -> Read:
    """Parse `NAME, KEY, value, KEY, value`, each between the format's markers."""
    name_end, key_mark = form.name_end.strip(), form.key_before.strip()
    stops = [name_end] if name_end else [key_mark, (form.after + form.end).strip()]
    ends = [text.find(stop, at, at + _LONGEST_NAME) for stop in stops if stop]
    until = min((end for end in ends if end >= 0), default=-1)
    if until < 0 or not _is_name(name := text[at:until].strip()):
        return None
    types = _parameters(tools, name)
    arguments: dict[str, Any] = {}
    at = after_blanks(text, until + len(name_end))
    while key_mark and text.startswith(key_mark, at):
        pair = _pair(text, at + len(key_mark), form)
        if pair is None or pair[0] in arguments:
            return None
        key, value, at = pair
        arguments[key] = typed(value, types.get(key))
        at = after_blanks(text, at)
    return [{"name": name, "arguments": arguments}], at


def _pair(text: str, at: int, form: CallForm) -> tuple[str, str, int] | None:
    key_end, value_end = form.key_end.strip(), form.value_end.strip()
    until = text.find(key_end, at, at + _LONGEST_NAME)
    if until < 0:
        return None
    begin = until + len(key_end)
    begin += len(_blanks_after(form.key_end)) * text.startswith(_blanks_after(form.key_end), begin)
    end = text.find(value_end, begin)
    if end < 0:
        return None
    value = text[begin:end]
    blanks = form.value_end[: len(form.value_end) - len(form.value_end.lstrip())]
    return text[at:until].strip(), value.removesuffix(blanks), end + len(value_end)


def _blanks_after(mark: str) -> str:
    return mark[len(mark.rstrip()) :]


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
    value = _PYTHON_WORDS.get(text, _NO_VALUE)
    if value is _NO_VALUE:
        value = load_json(text)
        if value is None and text.strip() != "null":
            value = load_literal(text) if text[:1] in ("{", "[") else _NO_VALUE
            value = _NO_VALUE if value is None else value
    if value is _NO_VALUE or (types and "string" in types and not _is_of(value, types)):
        return text
    return value


_NO_VALUE = object()


def _is_of(value: Any, types: set[str]) -> bool:
    if isinstance(value, bool) or value is None:
        return ("null" if value is None else "boolean") in types
    if isinstance(value, int | float):
        return "number" in types or ("integer" in types and float(value).is_integer())
    kind = "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
    return kind in types


def _parameters(tools: Tools, name: str) -> dict[str, set[str]]:
    """Return the types of a tool's parameters that its schema specifies."""
    for tool in tools or ():
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if isinstance(function, dict) and function.get("name") == name:
            schema = function.get("parameters")
            properties = schema.get("properties") if isinstance(schema, dict) else None
            known = properties.items() if isinstance(properties, dict) else ()
            return {key: types for key, one in known if (types := _types(one))}
    return {}


def _types(schema: Any) -> set[str]:
    """Return the JSON types that a schema allows in any of its alternatives."""
    if not isinstance(schema, dict):
        return set()
    given = schema.get("type")
    found = {given} if isinstance(given, str) else {t for t in given or () if isinstance(t, str)}
    for key in ("anyOf", "oneOf"):
        for one in schema.get(key) or ():
            found |= _types(one)
    if not found and isinstance(schema.get("enum"), list):
        found |= {"string"} if all(isinstance(v, str) for v in schema["enum"]) else set()
    return found


def _python(text: str, at: int, form: CallForm, tools: Tools) -> Read:
    end = _closing(text, at, form)
    body = parse_expression(text[at:end])
    if not isinstance(body, ast.List) or not body.elts:
        return None
    try:
        return [_python_call(one) for one in body.elts], end
    except ValueError:
        return None


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call with keyword arguments")
    arguments = {word.arg: literal(word.value) for word in node.keywords if word.arg is not None}
    if len(arguments) != len(node.keywords):
        raise ValueError("an argument is repeated or has no name")
    return {"name": _dotted(node.func), "arguments": arguments}


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("no name")
    return ".".join([node.id, *reversed(parts)])


def _closing(text: str, at: int, form: CallForm) -> int:
    """Return the start of the closing marker, or the end of the text if there is none."""
    mark = (form.after + form.end).strip()
    found = text.find(mark, at) if mark else -1
    return found if found >= 0 else len(text)


def _is_name(name: str) -> bool:
    return bool(name) and not set(name) & set('{}<>"\n')


_READERS: dict[str, Callable[[str, int, CallForm, Tools], Read]] = {
    "json": _json,
    "named_json": _named_json,
    "arguments": _arguments,
    "python": _python,
}
