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
    parts = Parts()
    for part in content:
        _add_part(parts, part, role)
    return parts


def _add_part(parts: Parts, part: Any, role: str) -> None:
    part_object = {"type": "text", "text": part} if isinstance(part, str) else part
    kind = part_object.get("type") if isinstance(part_object, dict) else None
    if kind in _TEXTS:
        text = _checked_text(part_object.get("text"))
        if parts.calls and text.strip():
            raise Rejected("text_after_call", f"after a tool_use: {excerpt(text)}")
        parts.text += text
    elif kind == "thinking" and role == "assistant":
        thought = part_object.get("thinking")
        parts.thought += (
            read(thought, role).text if isinstance(thought, list) else _checked_text(thought)
        )
    elif kind == "tool_use" and role == "assistant":
        call = call_syntaxes.of_value(
            {"name": part_object.get("name"), "arguments": part_object.get("input")}
        )
        parts.calls = [*parts.calls, call_syntaxes.with_id(call, part_object.get("id"))]
    elif kind == "tool_result" and role in ("user", "tool"):
        if parts.text.strip():
            raise Rejected("tool_result_without_call", f"text before it: {excerpt(parts.text)}")
        parts.results = [*parts.results, _result_message(part_object)]
    else:
        raise Rejected("unknown_part", f"{kind!r} in the content of the {role}: {excerpt(part)}")


def _result_message(part: Row) -> Row:
    content = part.get("content")
    text = read(content, "tool").text if isinstance(content, list) else _checked_text(content or "")
    message: Row = {"role": "tool", "name": "", "content": text}
    if part.get("tool_use_id"):
        message["tool_call_id"] = str(part["tool_use_id"])
    return message


def _checked_text(value: Any) -> str:
    if not isinstance(value, str):
        raise Rejected("not_text", f"a content part is {excerpt(value)}")
    return value
