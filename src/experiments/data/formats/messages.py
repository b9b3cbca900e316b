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


def conversation(given: list[Row], toolset: Toolset = tools.NONE) -> list[Row]:
    """Return messages with canonical fields only, and normalised calls.

    Args:
        given: the messages.
        toolset: tools that tell which nulls in the arguments were inserted by Arrow.

    Raises:
        Rejected: unknown_role, unknown_part, not_text, malformed_call, malformed_flag,
            text_after_call, tool_result_without_call.
    """
    made: list[Row] = []
    for turn in given:
        role = turn.get("role")
        if role not in ROLES:
            role = _OTHER_ROLES.get(role) if isinstance(role, str) else None
        if role is None:
            raise Rejected("unknown_role", f"{turn.get('role')!r} is not one of {', '.join(ROLES)}")
        content, trained = turn.get("content"), flags.trained(turn)
        if role in _SPEAKERS and type(content) is str:
            made.append(turns.asked({"role": role, "content": content}, trained))
            continue
        read = content_parts.Parts(content) if type(content) is str else _content(content, role)
        if role == "assistant":
            made.append(turns.marked(_assistant(turn, read, toolset), trained))
        elif role == "tool":
            made.append(_result(turn, read))
        else:
            made += read.results
            if read.text or not read.results:
                made.append(turns.asked({"role": role, "content": read.text}, trained))
    return made


def _content(content: Any, role: str) -> content_parts.Parts:
    if isinstance(content, list):
        return content_parts.read(content, role)
    if content is None:
        return content_parts.Parts()
    return content_parts.Parts(turns.text(content, f"content of the {role}"))


def _assistant(turn: Row, read: content_parts.Parts, toolset: Toolset) -> Row:
    """Return an assistant message built from its content and its other keys."""
    called = _called(turn, toolset)
    if called and read.calls:
        raise Rejected(
            "malformed_call", "calls both in content and in tool_calls; keep one of them"
        )
    message = turns.assistant(read.text, called or list(read.calls))
    if filled := [call for call in called if NULLS in call]:
        message[NULLS] = sum(call.pop(NULLS) for call in filled)
    if not read.thought and message_keys.THOUGHTS.isdisjoint(turn):
        return message
    thoughts = {"content": read.thought} if read.thought.strip() else {}
    for name in message_keys.THOUGHTS.intersection(turn):
        if turn.get(name) is not None and turns.text(turn[name], name).strip():
            thoughts[name] = turn[name]
    if len(set(thoughts.values())) > 1:
        raise Rejected("malformed_turns", f"different thinking in {' and '.join(sorted(thoughts))}")
    for thought in thoughts.values():
        message["reasoning_content"] = thought
    return message


def _called(turn: Row, toolset: Toolset) -> list[Row]:
    """Return the calls in `tool_calls` or in OpenAI's older `function_call`."""
    given, older = turn.get("tool_calls") or [], turn.get("function_call")
    if not isinstance(given, list) or (given and older):
        raise Rejected("malformed_call", "calls must be a list in tool_calls")
    if older:
        return [_as_object(call_syntaxes.of_value(call_syntaxes.parsed(older)), older, toolset)]
    found = [_as_object(call_syntaxes.of_value(call), call, toolset) for call in given]
    if not [call for call in given if "id" in call]:
        return found
    return [
        call_syntaxes.with_id(call, one.get("id")) for call, one in zip(found, given, strict=True)
    ]


def _as_object(call: Row, given: Any, toolset: Toolset) -> Row:
    """Return a call without Arrow's nulls if its arguments are an object rather than text."""
    arguments = call["function"]["arguments"]
    if None not in arguments.values() or isinstance(given, str):
        return call
    if isinstance((given.get("function") or given).get("arguments"), str):
        return call
    for tool in toolset.tools:
        if tool["function"]["name"] == call["function"]["name"]:
            schema = tool["function"]["parameters"]
            if not filling.is_filled(arguments, schema):
                return call
            kept = filling.removed(arguments, schema)
            nulls = filling.nulls(arguments) - filling.nulls(kept)
            return call | {"function": call["function"] | {"arguments": kept}, NULLS: nulls}
    return call


def _result(turn: Row, read: content_parts.Parts) -> Row:
    """Return a tool message with its id and name, if it has them."""
    if read.results:
        raise Rejected("unknown_part", "a tool_result in the content of a tool message")
    name = turn.get("name")
    message = turns.result(read.text, "" if name is None else turns.text(name, "name of a tool"))
    own: Any = turn.get("tool_call_id")
    return message if own is None or own == "" else message | {"tool_call_id": str(own)}


def prompt_completion(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `prompt` and `completion`, or `instruction`, `input` and `output`.

    Each is text, or a list of messages as in TRL; only the completion is trained. The columns
    `history` (a list of pairs), `system` and `tools` are optional.
    """
    toolset = tools.offered(raw)
    asked = turns.column(raw, "prompt", "instruction")
    answered = turns.column(raw, "completion", "output")
    if isinstance(asked, list) and isinstance(answered, list):
        return turns.with_system(raw, _listed_pair(asked, answered)), toolset
    asked = turns.text(asked, "column prompt")
    beside = None if raw.get("prompt") is not None else raw.get("input")
    if beside is not None and turns.text(beside, "column input").strip():
        asked = f"{asked}\n{beside}"
    said = turns.assistant(turns.text(answered, "column completion"))
    return turns.with_system(raw, [*_history(raw), _user(asked), said]), toolset


def _user(text: str) -> Row:
    return {"role": "user", "content": text}


def _listed_pair(asked: list[Any], answered: list[Any]) -> list[Row]:
    if not all(isinstance(turn, dict) for turn in (*asked, *answered)):
        raise Rejected("malformed_turns", f"not a list of objects: {excerpt(asked)}")
    before = conversation(asked)
    for message in before:
        if message["role"] == "assistant":
            message["train"] = False
    return [*before, *conversation(answered)]


def _history(raw: Row) -> list[Row]:
    """Return the earlier turns in LLaMA-Factory's `history`, a list of (user, assistant) pairs."""
    pairs = raw.get("history")
    if pairs is None or pairs == "":
        return []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise Rejected("malformed_turns", f"history is not a list of pairs: {excerpt(pairs)}")
    made: list[Row] = []
    for asked, answered in pairs:
        made.append(_user(turns.text(asked, "history")))
        made.append(turns.assistant(turns.text(answered, "history")))
    return made
