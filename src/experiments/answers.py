"""Text of an assistant turn -> the calls in it, the prose around them, and whether it is broken.

One grammar for training text and for model output, the one of Qwen's and Hermes' templates:

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

A broken call is never read as prose: it would be counted as a polite refusal.
"""

import json
from dataclasses import dataclass, field
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Answer:
    """What an assistant turn says."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    """Each `{"name": str, "arguments": dict}`, in the order of the text."""
    content: str = ""
    """The text outside the calls, stripped."""
    malformed: bool = False
    """A tag is unclosed or stray, or its inside is not a call."""


def parse(text: str) -> Answer:
    """Read an assistant turn; never raises, whatever the text, in time linear in its length.

    >>> parse('<tool_call>{"name": "f", "arguments": {}}</tool_call>').calls
    [{'name': 'f', 'arguments': {}}]
    >>> parse('<tool_call>{"name": ').malformed
    True
    """
    calls: list[dict[str, Any]] = []
    prose: list[str] = []
    malformed = False
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        prose.append(text[at:start])
        end = text.find(CLOSE, start)
        if end < 0:
            return Answer(calls, "".join(prose).strip(), True)
        call = _call(text[start + len(OPEN) : end])
        if call is None:
            malformed = True
        else:
            calls.append(call)
        at = end + len(CLOSE)
    prose.append(text[at:])
    content = "".join(prose).strip()
    return Answer(calls, content, malformed or CLOSE in content)


def _call(text: str) -> dict[str, Any] | None:
    value = load_json(text)
    if not isinstance(value, dict) or set(value) != {"name", "arguments"}:
        return None
    if not isinstance(value["name"], str) or not isinstance(value["arguments"], dict):
        return None
    return value


def load_json(text: str) -> Any:
    """Parse strict JSON; None if it is not, is nested too deeply or holds NaN or infinity."""

    def refuse(_: str) -> None:
        raise ValueError

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def gold_calls(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of a row's last turn in the form `parse` gives them."""
    return [call["function"] for call in row["messages"][-1].get("tool_calls") or []]


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
