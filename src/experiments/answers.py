"""Text of an assistant turn -> the calls in it, the prose around them, and what is broken.

One grammar for training text and for model output, the one of Qwen's and Hermes' templates:

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

A broken call is never read as prose: it would be counted as a polite refusal. `parse` is strict;
`parse_tolerant` also reads what a forgiving program would, and names each thing it forgave, so
that "learned the format" and "learned the meaning" are two scores.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINK, END_THINK = "<think>", "</think>"
# Deeper values are no arguments, and would exhaust Python's stack in whatever walks them.
MAX_DEPTH = 64
# Double-quoted text, an unclosed one up to the end (else each quote would scan the rest again).
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}()]', re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What an assistant turn says."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"name": str, "arguments": dict}`, in the order of the text."""
    content: str = ""
    """The text outside the calls and after the thinking, stripped."""
    malformed: bool = False
    """A tag is unclosed or stray, its inside is not a call, or the thinking does not end."""
    defects: tuple[str, ...] = ()
    """What is broken, or was forgiven, each once: `unclosed tag`, `not a call`, ..."""


def parse(text: str) -> Answer:
    """Read an assistant turn strictly; never raises, in time linear in the text's length.

    >>> parse('<tool_call>{"name": "f", "arguments": {}}</tool_call>').calls
    [{'name': 'f', 'arguments': {}}]
    >>> parse('<tool_call>{"name": ').defects
    ('unclosed tag',)
    """
    said, defects = _after_thinking(text)
    calls: list[dict[str, Any]] = []
    prose: list[str] = []
    for inside, closed in _cut(said, prose):
        call = _strict_call(inside) if closed else None
        if call is not None:
            calls.append(call)
        else:
            defects.append("not a call" if closed else "unclosed tag")
    content = "".join(prose).strip()
    if CLOSE in content:
        defects.append("stray tag")
    return Answer(calls, content, bool(defects), tuple(dict.fromkeys(defects)))


def parse_tolerant(text: str, tool_names: Collection[str] = ()) -> Answer:
    """Read an assistant turn as a forgiving program would; `defects` says what was forgiven.

    Forgiven are: a last call without its closing tag, Python's literals for JSON, a code fence
    around a call, arguments as JSON text, `parameters` for `arguments`, a list of calls in one
    tag, and calls without any tag, if all of them name a tool that is offered.

    >>> parse_tolerant("<tool_call>{'name': 'f', 'arguments': {'x': True}}").calls
    [{'name': 'f', 'arguments': {'x': True}}]
    >>> parse_tolerant('{"name": "f", "parameters": {}}', ["f"]).defects
    ('no tag', 'parameters for arguments')

    Args:
        text: the assistant turn.
        tool_names: what the turn may call; empty: untagged text is never read as a call.
    """
    said, defects = _after_thinking(text)
    calls: list[dict[str, Any]] = []
    prose: list[str] = []
    malformed = bool(defects)
    found: list[dict[str, Any]] | None
    for inside, closed in _cut(said, prose):
        if not closed:
            defects.append("unclosed tag")
        found = _tolerant_calls(inside, defects)
        if found is None:
            malformed = True
            defects.append("not a call")
        else:
            calls += found
    content = "".join(prose).strip()
    if CLOSE in content:
        defects.append("stray tag")
    if not calls and not malformed and tool_names:
        noticed: list[str] = ["no tag"]
        found = _tolerant_calls(content, noticed)
        if found and all(call["name"] in tool_names for call in found):
            calls, content = found, ""
            defects += noticed
    return Answer(calls, content, malformed, tuple(dict.fromkeys(defects)))


def _after_thinking(text: str) -> tuple[str, list[str]]:
    """Cut the thinking off, up to its last end; thinking that never ends leaves nothing."""
    said = text.rpartition(END_THINK)[2]
    if THINK in said:
        return "", ["unclosed thinking"]
    return said, []


def _cut(text: str, prose: list[str]) -> list[tuple[str, bool]]:
    """Return (inside, closed) of each tag, and put the text around them into `prose`."""
    found: list[tuple[str, bool]] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        prose.append(text[at:start])
        end = text.find(CLOSE, start)
        if end < 0:
            return [*found, (text[start + len(OPEN) :], False)]
        found.append((text[start + len(OPEN) : end], True))
        at = end + len(CLOSE)
    prose.append(text[at:])
    return found


def _strict_call(text: str) -> dict[str, Any] | None:
    value = load_json(text)
    if not isinstance(value, dict) or set(value) != {"name", "arguments"}:
        return None
    if not isinstance(value["name"], str) or not isinstance(value["arguments"], dict):
        return None
    return value


def _tolerant_calls(text: str, defects: list[str]) -> list[dict[str, Any]] | None:
    value = load_json(text)
    if value is None:
        bare = _unfenced(text)
        value = load_json(bare)
        if value is not None:
            defects.append("code fence")
        elif (value := load_literal(bare)) is not None:
            defects.append("python literal")
    if isinstance(value, list):
        defects.append("list of calls")
    calls = [
        _tolerant_call(one, defects) for one in (value if isinstance(value, list) else [value])
    ]
    return None if not calls or None in calls else [call for call in calls if call is not None]


def _tolerant_call(value: Any, defects: list[str]) -> dict[str, Any] | None:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
        defects.append("wrapped call")
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    key = "arguments" if "arguments" in value else "parameters"
    arguments = value.get(key)
    if isinstance(arguments, str):
        arguments = load_json(arguments)
        defects.append("arguments as text")
    if not isinstance(arguments, dict):
        return None
    if key == "parameters":
        defects.append("parameters for arguments")
    return {"name": value["name"], "arguments": arguments}


def _unfenced(text: str) -> str:
    """Return the inside of one Markdown code fence, or the text stripped."""
    bare = text.strip()
    match = re.match(r"```[a-z]*\n", bare)
    return bare[match.end() : -3].strip() if match and bare.endswith("\n```") else bare


def load_json(text: str) -> Any:
    """Parse strict JSON; None if it is not.

    Refused are NaN, infinities (`1e999` too), an object that names a key twice, and values nested
    more than MAX_DEPTH deep.
    """
    if _too_deep(text):
        return None
    try:
        return json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except (ValueError, RecursionError):
        return None


def load_literal(text: str) -> Any:
    """Parse a Python literal, with JSON's true, false and null; None if it is not.

    >>> load_literal("{'a': [1, true, None]}")
    {'a': [1, True, None]}
    """
    # ast keeps the whole tree in memory, some hundred bytes for each of the text's.
    if len(text) > 100_000 or _too_deep(text) or "\0" in text:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a text
            tree = ast.parse(text.strip(), mode="eval")
        value = ast.literal_eval(_JsonNames().visit(tree))
        json.dumps(value, allow_nan=False)  # only what JSON can say: no set, no bytes, no nan
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return value


class _JsonNames(ast.NodeTransformer):
    """Reads `true`, `false` and `null` as JSON does."""

    VALUES = {"true": True, "false": False, "null": None}  # noqa: RUF012 - never changed

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self.VALUES[node.id]) if node.id in self.VALUES else node


def _too_deep(text: str) -> bool:
    """Tell whether brackets outside of double-quoted text nest deeper than MAX_DEPTH."""
    depth = 0
    for match in _BRACKET.finditer(text):
        one = match[0]
        depth += 1 if one in "[{(" else -1 if one in "]})" else 0
        if depth > MAX_DEPTH:
            return True
    return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is no number that JSON programs share")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object names a key twice")
    return made


def gold_calls(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a row's last turn in the form `parse` gives them."""
    return [call["function"] for call in row["messages"][-1].get("tool_calls") or []]


def tool_names(row: dict[str, Any]) -> list[str]:
    """Return the names of the tools a row offers, in their order."""
    functions = [tool.get("function", tool) for tool in row.get("tools") or []]
    return [str(function.get("name", "")) for function in functions]


def same_value(one: Any, other: Any) -> bool:
    """Compare two JSON values: 1 equals 1.0, but true is not 1 and "1" is not 1.

    >>> same_value({"a": [1, True]}, {"a": [1.0, True]}), same_value(True, 1)
    (True, False)
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)
