"""Detect what a chat template drops, by rendering conversations in which every text is a marker.

A template may silently drop tools, calls or results, and a model would then be trained on rows
without them. For the first row of each kind, a twin is rendered: it has the same turns, but each
text, name, argument and result is replaced by a marker that is then searched for in the expected
place. The input format that the template expects for calls is detected in the same way.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from experiments.data.augmentation import ToolsForm, tools_in_form
from experiments.data.conversation import CallShape, Conversation, Message, shaped
from experiments.data.spans import Span
from experiments.data.tally import TEXT_BESIDE_CALLS

TOOLS = "the tools"
PARAMETERS = "the parameters of the tools"
CALLS = "calls"
ARGUMENTS = "the arguments of calls"
PARALLEL = "all but one of a turn's calls"
TEXTS = "the assistant's text"
_CONTEXT_NAMES = {
    "system": "the system message",
    "user": "user messages",
    "tool": "the results of tools",
}
_CALLED_TOOL, _UNCALLED_TOOL, _PARAMETER = "tool0z", "tool1z", "parameter0z"
RenderMessages = Callable[[list[Message], list[Any]], str]


def with_marker_texts(
    conversation: Conversation, form: ToolsForm, shape: CallShape
) -> Conversation:
    """Return the conversation with markers as texts; turns, calls and ids are unchanged."""
    messages = [
        _with_markers(message, index, shape) for index, message in enumerate(conversation.messages)
    ]
    tools = _tools(form) if conversation.tools else []
    return Conversation(conversation.id, messages, tools)


def dropped_by_template(probe: Conversation, rendered: str, spans: list[Span]) -> frozenset[str]:
    """Return what the template dropped from a twin: constants of this module and of `tally`.

    Args:
        probe: the twin.
        rendered: its rendered text.
        spans: spans of the assistant turns.
    """
    turn_texts = {
        index: rendered[span.start : span.text_end]
        for index, span in zip(probe.turns, spans, strict=True)
    }
    edges = [0, *(edge for span in spans for edge in (span.start, span.text_end)), len(rendered)]
    context = "\n".join(rendered[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    dropped = set(_lost_tools(context)) if probe.tools else set()
    for index, message in enumerate(probe.messages):
        if message["role"] == "assistant":
            dropped |= set(_lost_of_turn(message, turn_texts[index]))
        elif message["content"] and message["content"] not in context:
            dropped.add(
                _CONTEXT_NAMES.get(message["role"], f"messages with the role {message['role']}")
            )
    return frozenset(dropped)


def call_shape(render: RenderMessages, form: ToolsForm) -> CallShape:
    """Detect the call format a template expects: the first that loses no call, else an object.

    Args:
        render: renders messages and tools.
        form: format of the tools.
    """
    shapes = [CallShape(arguments_as_text=as_text) for as_text in (False, True)]
    shapes_that_write_calls = (
        candidate
        for candidate in shapes
        if _writes_calls(_render_call(render, form, candidate, _ids("abcdefgh")))
    )
    shape = next(shapes_that_write_calls, shapes[0])
    reads_ids, any_id = _reads_ids(render, form, shape)
    return CallShape(shape.arguments_as_text, reads_ids, any_id)


def _reads_ids(render: RenderMessages, form: ToolsForm, shape: CallShape) -> tuple[bool, bool]:
    """Return whether a template prints or requires call ids, and whether it accepts long ones."""
    with_ids = _render_call(render, form, shape, _ids("abcdefgh"))
    reads_ids = with_ids is not None and with_ids != _render_call(render, form, shape, None)
    return reads_ids, not reads_ids or _render_call(
        render, form, shape, _ids("call_abcdefghijklmn")
    ) is not None


def _ids(prefix: str) -> Iterator[str]:
    return (f"{prefix}{number}" for number in itertools.count())


def _render_call(
    render: RenderMessages, form: ToolsForm, shape: CallShape, ids: Iterator[str] | None
) -> str | None:
    """Render a question, a call and its result, else without the result; None if both fail."""
    call: Message = {"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}
    result: Message = {"role": "tool", "name": _CALLED_TOOL, "content": "RESULT2Z"}
    if ids is not None:
        call_id = next(ids)
        call["tool_calls"][0]["id"] = result["tool_call_id"] = call_id
    question_and_call: list[Message] = [
        {"role": "user", "content": "USER0Z"},
        _with_markers(call, 1, shape),
    ]
    for messages in ([*question_and_call, result], question_and_call):
        try:
            return render(messages, _tools(form))
        except Exception:  # a template is a program; rendering the next row reports the reason
            continue
    return None


def _writes_calls(text: str | None) -> bool:
    return text is not None and all(
        marker in text for marker in (_CALLED_TOOL, "key1z0z", "VALUE1Z0Z")
    )


def _with_markers(message: Message, index: int, shape: CallShape) -> Message:
    """Return a message with markers that contain its index."""
    marked = dict(message)
    if message["content"].strip():
        marked["content"] = f"{message['role'].upper()}{index}Z"
    if message["role"] == "tool":
        marked["name"] = _CALLED_TOOL
    if message.get("tool_calls"):
        marked["tool_calls"] = [
            call | {"type": "function", "function": _call(index, number)}
            for number, call in enumerate(message["tool_calls"])
        ]
    return shaped(marked, shape)


def _call(index: int, number: int) -> dict[str, Any]:
    return {"name": _CALLED_TOOL, "arguments": {f"key{index}z{number}z": f"VALUE{index}Z{number}Z"}}


def _tools(form: ToolsForm) -> list[Any]:
    """Return a tool that is called, and another that never is and so occurs in no call."""
    schema = {
        "type": "object",
        "properties": {_PARAMETER: {"type": "string", "description": "a text"}},
        "required": [_PARAMETER],
    }
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": "does a thing", "parameters": schema},
        }
        for name in (_CALLED_TOOL, _UNCALLED_TOOL)
    ]
    # Documents passed through unchanged have BFCL's format.
    return tools_in_form(tools, "bfcl_raw" if form == "as_given" else form)


def _lost_tools(context: str) -> Iterator[str]:
    if _UNCALLED_TOOL not in context:
        yield TOOLS
    elif _PARAMETER not in context:
        yield PARAMETERS


def _lost_of_turn(message: Message, turn_text: str) -> Iterator[str]:
    calls = message.get("tool_calls") or []
    if message["content"] and message["content"] not in turn_text:
        yield TEXT_BESIDE_CALLS if calls else TEXTS
    if not calls:
        return
    if _CALLED_TOOL not in turn_text:
        yield CALLS
        return
    complete = [all(marker in turn_text for marker in _argument_markers(call)) for call in calls]
    if not complete[0]:
        yield ARGUMENTS
    elif not all(complete) or turn_text.count(_CALLED_TOOL) < len(calls):
        yield PARALLEL


def _argument_markers(call: dict[str, Any]) -> tuple[str, str]:
    arguments = call["function"]["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    [(key, value)] = arguments.items()
    return key, value
