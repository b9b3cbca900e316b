"""Convert a user's own rows: `messages` + `tools`, or `prompt` + `completion`.

The first layout is that of OpenAI, Anthropic and TRL: roles system or developer, user, assistant
and tool or function; content as text or in parts; `tool_calls` (or `function_call`) with arguments
as an object or as text; `tools` (or `functions`) as a list or as text; `system` as a separate
column. The second also covers Alpaca's `instruction`, `input`, `output` and `history`.
"""

from typing import Any

from experiments.data.formats import (
    call_syntaxes,
    content_parts,
    filling,
    flags,
    message_keys,
    tools,
    turns,
)
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

ROLES = ("system", "user", "assistant", "tool")
NULLS = "null arguments of calls, added by the table format"
"""Temporary message key with the number of nulls removed, for the counts."""
_SPEAKERS = frozenset(("system", "user"))
_OTHER_ROLES = {"developer": "system", "function": "tool"}


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `messages`, `tools` or `functions`, and `system`."""
    toolset = tools.offered(raw)
    return turns.with_system(raw, conversation(listed(raw), toolset)), toolset


def listed(raw: Row) -> list[Row]:
    """Return the `messages` column: a list of objects, or the text of one.

    Raises:
        Rejected: missing_column, malformed_turns.
    """
    value = turns.column(raw, "messages")
    if isinstance(value, str):
        try:
            value = message_keys.parsed(value)
        except ValueError as error:
            raise Rejected("malformed_turns", f"{error}: {excerpt(value)}") from None
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise Rejected("malformed_turns", f"not a list of objects: {excerpt(value)}")
    return value


def conversation(raw_messages: list[Row], toolset: Toolset = tools.NONE) -> list[Row]:
    """Return messages with canonical fields only, and normalised calls.

    Args:
        raw_messages: the messages.
        toolset: tools that tell which nulls in the arguments were inserted by Arrow.

    Raises:
        Rejected: unknown_role, unknown_part, not_text, malformed_call, malformed_flag,
            text_after_call, tool_result_without_call.
    """
    messages: list[Row] = []
    for turn in raw_messages:
        role = turn.get("role")
        if role not in ROLES:
            role = _OTHER_ROLES.get(role) if isinstance(role, str) else None
        if role is None:
            raise Rejected("unknown_role", f"{turn.get('role')!r} is not one of {', '.join(ROLES)}")
        content, trained = turn.get("content"), flags.trained(turn)
        if role in _SPEAKERS and type(content) is str:
            messages.append(turns.asked({"role": role, "content": content}, trained))
            continue
        parts = content_parts.Parts(content) if type(content) is str else _content(content, role)
        if role == "assistant":
            messages.append(turns.marked(_assistant(turn, parts, toolset), trained))
        elif role == "tool":
            messages.append(_result(turn, parts))
        else:
            messages += parts.results
            if parts.text or not parts.results:
                messages.append(turns.asked({"role": role, "content": parts.text}, trained))
    return messages


def _content(content: Any, role: str) -> content_parts.Parts:
    if isinstance(content, list):
        return content_parts.read(content, role)
    if content is None:
        return content_parts.Parts()
    return content_parts.Parts(turns.text(content, f"content of the {role}"))


def _assistant(turn: Row, parts: content_parts.Parts, toolset: Toolset) -> Row:
    """Return an assistant message built from its content and its other keys."""
    calls = _calls_of_turn(turn, toolset)
    if calls and parts.calls:
        raise Rejected(
            "malformed_call", "calls both in content and in tool_calls; keep one of them"
        )
    message = turns.assistant(parts.text, calls or list(parts.calls))
    if calls_with_nulls := [call for call in calls if NULLS in call]:
        message[NULLS] = sum(call.pop(NULLS) for call in calls_with_nulls)
    if not parts.thought and message_keys.THOUGHTS.isdisjoint(turn):
        return message
    thoughts = {"content": parts.thought} if parts.thought.strip() else {}
    for name in message_keys.THOUGHTS.intersection(turn):
        if turn.get(name) is not None and turns.text(turn[name], name).strip():
            thoughts[name] = turn[name]
    if len(set(thoughts.values())) > 1:
        raise Rejected("malformed_turns", f"different thinking in {' and '.join(sorted(thoughts))}")
    for thought in thoughts.values():
        message["reasoning_content"] = thought
    return message


def _calls_of_turn(turn: Row, toolset: Toolset) -> list[Row]:
    """Return the calls in `tool_calls` or in OpenAI's older `function_call`."""
    tool_calls, function_call = turn.get("tool_calls") or [], turn.get("function_call")
    if not isinstance(tool_calls, list) or (tool_calls and function_call):
        raise Rejected("malformed_call", "calls must be a list in tool_calls")
    if function_call:
        return [
            _without_added_nulls(
                call_syntaxes.of_value(call_syntaxes.parsed(function_call)), function_call, toolset
            )
        ]
    calls = [
        _without_added_nulls(call_syntaxes.of_value(call), call, toolset) for call in tool_calls
    ]
    if not [call for call in tool_calls if "id" in call]:
        return calls
    return [
        call_syntaxes.with_id(call, raw_call.get("id"))
        for call, raw_call in zip(calls, tool_calls, strict=True)
    ]


def _without_added_nulls(call: Row, raw_call: Any, toolset: Toolset) -> Row:
    """Return a call without Arrow's nulls if its arguments are an object rather than text."""
    arguments = call["function"]["arguments"]
    if None not in arguments.values() or isinstance(raw_call, str):
        return call
    if isinstance((raw_call.get("function") or raw_call).get("arguments"), str):
        return call
    for tool in toolset.tools:
        if tool["function"]["name"] == call["function"]["name"]:
            schema = tool["function"]["parameters"]
            if not filling.is_filled(arguments, schema):
                return call
            without_nulls = filling.removed(arguments, schema)
            null_count = filling.nulls(arguments) - filling.nulls(without_nulls)
            return call | {
                "function": call["function"] | {"arguments": without_nulls},
                NULLS: null_count,
            }
    return call


def _result(turn: Row, parts: content_parts.Parts) -> Row:
    """Return a tool message with its id and name, if it has them."""
    if parts.results:
        raise Rejected("unknown_part", "a tool_result in the content of a tool message")
    name = turn.get("name")
    message = turns.result(parts.text, "" if name is None else turns.text(name, "name of a tool"))
    call_id: Any = turn.get("tool_call_id")
    return message if call_id is None or call_id == "" else message | {"tool_call_id": str(call_id)}


def prompt_completion(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `prompt` and `completion`, or `instruction`, `input` and `output`.

    Each is text, or a list of messages as in TRL; only the completion is trained. The columns
    `history` (a list of pairs), `system` and `tools` are optional.
    """
    toolset = tools.offered(raw)
    prompt = turns.column(raw, "prompt", "instruction")
    completion = turns.column(raw, "completion", "output")
    if isinstance(prompt, list) and isinstance(completion, list):
        return turns.with_system(raw, _listed_pair(prompt, completion)), toolset
    prompt = turns.text(prompt, "column prompt")
    input_text = None if raw.get("prompt") is not None else raw.get("input")
    if input_text is not None and turns.text(input_text, "column input").strip():
        prompt = f"{prompt}\n{input_text}"
    answer = turns.assistant(turns.text(completion, "column completion"))
    return turns.with_system(raw, [*_history(raw), _user(prompt), answer]), toolset


def _user(text: str) -> Row:
    return {"role": "user", "content": text}


def _listed_pair(prompt: list[Any], completion: list[Any]) -> list[Row]:
    if not all(isinstance(turn, dict) for turn in (*prompt, *completion)):
        raise Rejected("malformed_turns", f"not a list of objects: {excerpt(prompt)}")
    prompt_messages = conversation(prompt)
    for message in prompt_messages:
        if message["role"] == "assistant":
            message["train"] = False
    return [*prompt_messages, *conversation(completion)]


def _history(raw: Row) -> list[Row]:
    """Return the earlier turns in LLaMA-Factory's `history`, a list of (user, assistant) pairs."""
    pairs = raw.get("history")
    if pairs is None or pairs == "":
        return []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise Rejected("malformed_turns", f"history is not a list of pairs: {excerpt(pairs)}")
    messages: list[Row] = []
    for user_text, assistant_text in pairs:
        messages.append(_user(turns.text(user_text, "history")))
        messages.append(turns.assistant(turns.text(assistant_text, "history")))
    return messages
