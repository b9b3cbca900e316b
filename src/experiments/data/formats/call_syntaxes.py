"""Parse calls in any syntax to `{"type": "function", "function": {name, arguments}}`.

Arguments are labels: they are parsed but never changed. Every function raises `Rejected` with the
reason malformed_call if the text is not a call.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from experiments.data.formats import literals
from experiments.data.formats.rejection import Rejected, Row, excerpt

_GLAIVE = re.compile(
    r"""\s*\{\s*"name"\s*:\s*"([^"]+)"\s*,\s*"arguments"\s*:\s*'(.*)'\s*\}\s*""", re.DOTALL
)
_TOKEN = re.compile(r"""["'(\[{)\]},=]""")
_QUOTED = {
    '"': re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL),
    "'": re.compile(r"'(?:[^'\\]|\\.)*+'", re.DOTALL),
}
# Text up to the first bracket, quote, comma or equal sign, which must be the opening of a call.
_BRACKET_NAME = re.compile(r"""\s*+([^\[\](){}"'=,\n]+)\(""")
_NEXT = re.compile(r"\s*+(,?)")
# Maximum number of tags inside the strings of one call: each requires parsing the text before it
# again.
_MAX_QUOTED_TAGS = 8
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def of_value(value: Any) -> Row:
    """Normalise one call, bare or wrapped in `function`.

    Raises:
        Rejected: malformed_call; arguments that are not an object are refused, never converted.
    """
    function = (value.get("function") or value) if isinstance(value, dict) else None
    if not isinstance(function, dict):
        raise Rejected("malformed_call", f"not an object: {excerpt(value)}")
    name, arguments = function.get("name"), function.get("arguments")
    if isinstance(arguments, str):
        arguments = parsed(arguments)
    if not isinstance(name, str) or not name:
        raise Rejected("malformed_call", f"the name is missing: {excerpt(value)}")
    return _call(name, arguments)


def parsed(value: Any) -> Any:
    """Return the value, parsed if it is text.

    Raises:
        Rejected: malformed_call.
    """
    if not isinstance(value, str):
        return value
    try:
        return literals.parse(value)
    except ValueError as error:
        raise Rejected("malformed_call", f"{error}: {excerpt(value)}") from None


def with_id(call: Row, call_id: Any) -> Row:
    """Return the call with its id; a null or empty id counts as none.

    Raises:
        Rejected: malformed_call.
    """
    if call_id is None or call_id == "":
        return call
    if not isinstance(call_id, str | int):
        raise Rejected("malformed_call", f"the id of a call is {excerpt(call_id)}")
    return {"id": str(call_id), **call}


def _call(name: str, arguments: Any) -> Row:
    if not isinstance(arguments, dict):
        raise Rejected(
            "malformed_call", f"arguments of {name!r} not an object: {excerpt(arguments)}"
        )
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def of_list(value: Any) -> list[Row]:
    """Normalise a call, or a list of calls, each an object or text."""
    calls: list[Row] = []
    for item in value if isinstance(value, list) else [value]:
        calls += literal(item) if isinstance(item, str) else [of_value(item)]
    return calls


def literal(text: str) -> list[Row]:
    """Parse one call or a list of calls, written as JSON or as a Python literal."""
    try:
        value = literals.parse(text)
    except ValueError as error:
        raise Rejected("malformed_call", f"{error}: {excerpt(text)}") from None
    if isinstance(value, str) or value == []:
        raise Rejected("malformed_call", f"not a call: {excerpt(text)}")
    return of_list(value)


def tagged(text: str, tag: str) -> tuple[str, list[Row]]:
    """Split an assistant's text into the text before its first call, and the calls.

    Example: `Sure. <tool_call>{"name": ...}</tool_call> <tool_call>...</tool_call>`

    Raises:
        Rejected: malformed_call for a tag that is not closed, text_after_call.
    """
    opening, closing_tag = f"<{tag}>", f"</{tag}>"
    before, opened, rest = text.partition(opening)
    calls: list[Row] = []
    while opened:
        parsed_calls, rest = _calls_until(rest, closing_tag)
        calls += parsed_calls
        after, opened, rest = rest.partition(opening)
        if after.strip():
            raise Rejected("text_after_call", f"after {closing_tag}: {excerpt(after.strip())}")
    return before.strip(), calls


def _calls_until(text: str, closing_tag: str) -> tuple[list[Row], str]:
    """Parse the calls up to a closing tag; a tag inside one of their strings does not count."""
    tag_index, first_error = -1, None
    for _ in range(_MAX_QUOTED_TAGS):
        tag_index = text.find(closing_tag, tag_index + 1)
        if tag_index < 0:
            break
        try:
            return literal(text[:tag_index]), text[tag_index + len(closing_tag) :]
        except Rejected as error:
            first_error = first_error or error
    raise first_error or Rejected("malformed_call", f"{closing_tag} is missing: {excerpt(text)}")


def glaive(text: str) -> Row:
    r"""Parse `{"name": "X", "arguments": '{...}'}`, Glaive's call syntax.

    The single quotes make the outer object invalid JSON, and apostrophes inside are not escaped, so
    the arguments extend to the last quote before the closing brace. They are parsed as JSON (line
    breaks inside strings allowed), then with `\'` as `'`, then as a Python literal.
    """
    match = _GLAIVE.fullmatch(text)
    if match is None:
        [call, *further_calls] = literal(text)
        if further_calls:
            raise Rejected("malformed_call", f"several calls in one tag: {excerpt(text)}")
        return call
    return _call(match[1], _glaive_arguments(match[2]))


def glaive_all(payloads: list[str], tag: str) -> list[Row]:
    """Parse calls from a text split at each tag; a tag inside a string of a call is text."""
    calls: list[Row] = []
    while payloads:
        for count in range(1, min(len(payloads), _MAX_QUOTED_TAGS) + 1):
            try:
                calls.append(glaive(tag.join(payloads[:count])))
            except Rejected:
                continue
            payloads = payloads[count:]
            break
        else:
            calls.append(glaive(payloads[0]))  # raises the error of the shortest text
    return calls


def _glaive_arguments(text: str) -> Any:
    for variant in (text, text.replace("\\'", "'")):
        try:
            return json.loads(variant, strict=False)
        except ValueError:
            pass
    try:
        return literals.python(text)
    except ValueError as error:
        raise Rejected("malformed_call", f"{error}: {excerpt(text)}") from None


def bracket(text: str, name_of: Callable[[str], str] = str) -> list[Row]:
    """Parse `[Name With Spaces(a=1, b="x"), other()]`, the syntax of BFCL and ToolACE.

    Names may contain spaces, slashes and hyphens; each value is a Python literal or JSON.

    Args:
        text: the text from the opening to the closing bracket.
        name_of: function applied to each name.
    """
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        raise Rejected("malformed_call", f"not in brackets: {excerpt(text)}")
    calls = []
    position, end = 1, len(stripped) - 1
    while True:
        name = _BRACKET_NAME.match(stripped, position, end)
        if name is None:
            raise Rejected("malformed_call", f"not a call: {excerpt(stripped[position:])}")
        close_index = closing(stripped, name.end() - 1)
        arguments = _keywords(stripped[name.end() : close_index])
        calls.append(_call(name_of(name[1].strip()), arguments))
        separator = _NEXT.match(stripped, close_index + 1, end)
        assert separator is not None, "the pattern matches the empty text"
        position = separator.end()
        if not separator[1]:
            break
    if position < end:
        raise Rejected("malformed_call", f"no comma between calls: {excerpt(stripped[position:])}")
    return calls


def closing(text: str, start: int) -> int:
    """Return the index of the bracket that closes the one at `start`; quoted ones do not count.

    Raises:
        Rejected: malformed_call if it is never closed.
    """
    expected_closings: list[str] = []
    for index, character in _unquoted(text, start):
        if character in _CLOSING:
            expected_closings.append(_CLOSING[character])
        elif character in ")]}":
            if expected_closings.pop() != character:
                break
            if not expected_closings:
                return index
    raise Rejected("malformed_call", f"unclosed bracket: {excerpt(text[start:])}")


def _unquoted(text: str, position: int = 0) -> Iterator[tuple[int, str]]:
    """Yield the brackets, commas and equal signs outside of strings."""
    while token := _TOKEN.search(text, position):
        character, position = token[0], token.end()
        if character in _QUOTED:
            string = _QUOTED[character].match(text, token.start())
            if string is None:
                raise Rejected("malformed_call", f"unclosed string: {excerpt(text)}")
            position = string.end()
        else:
            yield token.start(), character


def _keywords(text: str) -> Row:
    """Parse `a=1, b="x"`."""
    arguments: Row = {}
    if not text.strip():
        return arguments
    depth, start, equals_index = 0, 0, -1
    for index, character in [*_unquoted(text), (len(text), ",")]:
        depth += (character in _CLOSING) - (character in ")]}")
        if depth == 0 and character == "=" and equals_index < start:
            equals_index = index
        elif depth == 0 and character == "," and text[start:index].strip():
            name = text[start:equals_index].strip() if equals_index >= start else ""
            if not name or name in arguments:
                raise Rejected("malformed_call", f"not name=value: {excerpt(text[start:index])}")
            arguments[name] = _value(text[equals_index + 1 : index])
            start = index + 1
    return arguments


def _value(text: str) -> Any:
    for parse in (literals.python, json.loads):
        try:
            return parse(text)
        except ValueError:
            pass
    raise Rejected("malformed_call", f"neither a literal nor JSON: {excerpt(text)}")
