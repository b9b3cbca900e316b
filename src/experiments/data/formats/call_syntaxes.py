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
_MOST_QUOTED_TAGS = 8
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


def with_id(call: Row, given: Any) -> Row:
    """Return the call with its id; a null or empty id counts as none.

    Raises:
        Rejected: malformed_call.
    """
    if given is None or given == "":
        return call
    if not isinstance(given, str | int):
        raise Rejected("malformed_call", f"the id of a call is {excerpt(given)}")
    return {"id": str(given), **call}


def _call(name: str, arguments: Any) -> Row:
    if not isinstance(arguments, dict):
        raise Rejected(
            "malformed_call", f"arguments of {name!r} not an object: {excerpt(arguments)}"
        )
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def of_list(value: Any) -> list[Row]:
    """Normalise a call, or a list of calls, each an object or text."""
    found: list[Row] = []
    for item in value if isinstance(value, list) else [value]:
        found += literal(item) if isinstance(item, str) else [of_value(item)]
    return found


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
    found: list[Row] = []
    while opened:
        read, rest = _until(rest, closing_tag)
        found += read
        after, opened, rest = rest.partition(opening)
        if after.strip():
            raise Rejected("text_after_call", f"after {closing_tag}: {excerpt(after.strip())}")
    return before.strip(), found


def _until(text: str, closing_tag: str) -> tuple[list[Row], str]:
    """Parse the calls up to a closing tag; a tag inside one of their strings does not count."""
    at, first = -1, None
    for _ in range(_MOST_QUOTED_TAGS):
        at = text.find(closing_tag, at + 1)
        if at < 0:
            break
        try:
            return literal(text[:at]), text[at + len(closing_tag) :]
        except Rejected as error:
            first = first or error
    raise first or Rejected("malformed_call", f"{closing_tag} is missing: {excerpt(text)}")


def glaive(text: str) -> Row:
    r"""Parse `{"name": "X", "arguments": '{...}'}`, Glaive's call syntax.

    The single quotes make the outer object invalid JSON, and apostrophes inside are not escaped, so
    the arguments extend to the last quote before the closing brace. They are parsed as JSON (line
    breaks inside strings allowed), then with `\'` as `'`, then as a Python literal.
    """
    match = _GLAIVE.fullmatch(text)
    if match is None:
        [call, *more] = literal(text)
        if more:
            raise Rejected("malformed_call", f"several calls in one tag: {excerpt(text)}")
        return call
    return _call(match[1], _glaive_arguments(match[2]))


def glaive_all(payloads: list[str], tag: str) -> list[Row]:
    """Parse calls from a text split at each tag; a tag inside a string of a call is text."""
    found: list[Row] = []
    while payloads:
        for many in range(1, min(len(payloads), _MOST_QUOTED_TAGS) + 1):
            try:
                found.append(glaive(tag.join(payloads[:many])))
            except Rejected:
                continue
            payloads = payloads[many:]
            break
        else:
            found.append(glaive(payloads[0]))  # raises the error of the shortest text
    return found


def _glaive_arguments(text: str) -> Any:
    for attempt in (text, text.replace("\\'", "'")):
        try:
            return json.loads(attempt, strict=False)
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
    inside = text.strip()
    if not (inside.startswith("[") and inside.endswith("]")):
        raise Rejected("malformed_call", f"not in brackets: {excerpt(text)}")
    found = []
    at, end = 1, len(inside) - 1
    while True:
        name = _BRACKET_NAME.match(inside, at, end)
        if name is None:
            raise Rejected("malformed_call", f"not a call: {excerpt(inside[at:])}")
        close = closing(inside, name.end() - 1)
        arguments = _keywords(inside[name.end() : close])
        found.append(_call(name_of(name[1].strip()), arguments))
        after = _NEXT.match(inside, close + 1, end)
        assert after is not None, "the pattern matches the empty text"
        at = after.end()
        if not after[1]:
            break
    if at < end:
        raise Rejected("malformed_call", f"no comma between calls: {excerpt(inside[at:])}")
    return found


def closing(text: str, at: int) -> int:
    """Return the index of the bracket that closes the one at `at`; quoted ones do not count.

    Raises:
        Rejected: malformed_call if it is never closed.
    """
    waiting: list[str] = []
    for index, letter in _unquoted(text, at):
        if letter in _CLOSING:
            waiting.append(_CLOSING[letter])
        elif letter in ")]}":
            if waiting.pop() != letter:
                break
            if not waiting:
                return index
    raise Rejected("malformed_call", f"unclosed bracket: {excerpt(text[at:])}")


def _unquoted(text: str, at: int = 0) -> Iterator[tuple[int, str]]:
    """Yield the brackets, commas and equal signs outside of strings."""
    while token := _TOKEN.search(text, at):
        letter, at = token[0], token.end()
        if letter in _QUOTED:
            quoted = _QUOTED[letter].match(text, token.start())
            if quoted is None:
                raise Rejected("malformed_call", f"unclosed string: {excerpt(text)}")
            at = quoted.end()
        else:
            yield token.start(), letter


def _keywords(text: str) -> Row:
    """Parse `a=1, b="x"`."""
    arguments: Row = {}
    if not text.strip():
        return arguments
    depth, start, equals = 0, 0, -1
    for index, letter in [*_unquoted(text), (len(text), ",")]:
        depth += (letter in _CLOSING) - (letter in ")]}")
        if depth == 0 and letter == "=" and equals < start:
            equals = index
        elif depth == 0 and letter == "," and text[start:index].strip():
            name = text[start:equals].strip() if equals >= start else ""
            if not name or name in arguments:
                raise Rejected("malformed_call", f"not name=value: {excerpt(text[start:index])}")
            arguments[name] = _value(text[equals + 1 : index])
            start = index + 1
    return arguments


def _value(text: str) -> Any:
    for reading in (literals.python, json.loads):
        try:
            return reading(text)
        except ValueError:
            pass
    raise Rejected("malformed_call", f"neither a literal nor JSON: {excerpt(text)}")
