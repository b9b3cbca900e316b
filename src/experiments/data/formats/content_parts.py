"""Read message content in parts (OpenAI, Anthropic): text, thinking, calls and results.

Text parts are concatenated unchanged. Anthropic's `tool_use` becomes a call, `tool_result` a tool
message and `thinking` the reasoning. Any other part (an image, a sound) rejects the row, with its
type in the message. Source: Anthropic's and OpenAI's API references for messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.data.formats import call_syntaxes
from experiments.data.formats.rejection import Rejected, Row, excerpt

_TEXTS = ("text", "input_text", "output_text")


@dataclass(slots=True)
class Parts:
    """The content of one message."""

    text: str = ""
    thought: str = ""
    calls: Sequence[Row] = ()
    results: Sequence[Row] = ()


def read(content: list[Any], role: str) -> Parts:
    """Read the content parts of a message by `role`.

    Raises:
        Rejected: not_text, unknown_part, malformed_call, text_after_call, tool_result_without_call.
    """
    found = Parts()
    for part in content:
        _add(found, part, role)
    return found


def _add(found: Parts, part: Any, role: str) -> None:
    given = {"type": "text", "text": part} if isinstance(part, str) else part
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in _TEXTS:
        said = _text(given.get("text"))
        if found.calls and said.strip():
            raise Rejected("text_after_call", f"after a tool_use: {excerpt(said)}")
        found.text += said
    elif kind == "thinking" and role == "assistant":
        thought = given.get("thinking")
        found.thought += read(thought, role).text if isinstance(thought, list) else _text(thought)
    elif kind == "tool_use" and role == "assistant":
        call = call_syntaxes.of_value({"name": given.get("name"), "arguments": given.get("input")})
        found.calls = [*found.calls, call_syntaxes.with_id(call, given.get("id"))]
    elif kind == "tool_result" and role in ("user", "tool"):
        if found.text.strip():
            raise Rejected("tool_result_without_call", f"text before it: {excerpt(found.text)}")
        found.results = [*found.results, _result(given)]
    else:
        raise Rejected("unknown_part", f"{kind!r} in the content of the {role}: {excerpt(part)}")


def _result(given: Row) -> Row:
    content = given.get("content")
    said = read(content, "tool").text if isinstance(content, list) else _text(content or "")
    message: Row = {"role": "tool", "name": "", "content": said}
    if given.get("tool_use_id"):
        message["tool_call_id"] = str(given["tool_use_id"])
    return message


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Rejected("not_text", f"a content part is {excerpt(value)}")
    return value
