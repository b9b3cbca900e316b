"""A user's own rows -> messages and tools: `messages` + `tools`, or `prompt` + `completion`.

The first is the form of OpenAI and TRL: roles system, user, assistant and tool; `tool_calls` with
arguments as an object or as the text of one; `tools` as a list or as the text of one.
"""

import json
from typing import Any

from experiments.data.formats import calls, tools, turns
from experiments.data.formats.rejection import Rejected, Row, excerpt
from experiments.data.formats.tools import Toolset

ROLES = ("system", "user", "assistant", "tool")


def convert(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert `messages` and `tools`."""
    toolset = tools.read(raw.get("tools"))
    return turns.finished(conversation(listed(raw)), toolset), toolset


def listed(raw: Row) -> list[Row]:
    """Return the `messages` column, a list of objects or the text of one.

    Raises:
        Rejected: missing_column, malformed_turns.
    """
    value = turns.column(raw, "messages")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Rejected("malformed_turns", f"{error}: {excerpt(value)}") from None
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise Rejected("malformed_turns", f"no list of objects: {excerpt(value)}")
    return value


def conversation(given: list[Row]) -> list[Row]:
    """Return messages with the fields of the canonical row only, calls in the one form.

    Raises:
        Rejected: unknown_role, not_text, malformed_call, tool_result_without_call.
    """
    made: list[Row] = []
    called: dict[str, str] = {}
    for turn in given:
        role, content = turn.get("role"), turn.get("content")
        if role not in ROLES:
            raise Rejected("unknown_role", f"{role!r} is none of {', '.join(ROLES)}")
        content = "" if content is None else turns.text(content, f"content of the {role}")
        if role == "assistant":
            made.append(_assistant(turn, content, called))
        elif role == "tool":
            made.append(turns.result(content, _name(turn, called)))
        else:
            made.append({"role": role, "content": content})
    return made


def _assistant(turn: Row, content: str, called: dict[str, str]) -> Row:
    """Return an assistant's message, and note the ids of its calls in `called`."""
    given = turn.get("tool_calls") or []
    if not isinstance(given, list) or turn.get("function_call"):
        raise Rejected("malformed_call", "calls must be a list in tool_calls")
    found = [calls.of_value(call) for call in given]
    for call, read in zip(given, found, strict=True):
        if isinstance(call.get("id"), str):
            called[call["id"]] = read["function"]["name"]
    message = turns.assistant(content, found)
    thought = turn.get("reasoning_content")
    if thought is not None and turns.text(thought, "reasoning_content").strip():
        message["reasoning_content"] = thought
    return message


def _name(turn: Row, called: dict[str, str]) -> str:
    """Return the name a tool result says it has, itself or by the id of its call."""
    name: Any = turn.get("name")
    if name is None:
        name = called.get(str(turn.get("tool_call_id")), "")
    return turns.text(name, "name of a tool")


def prompt_completion(raw: Row) -> tuple[list[Row], Toolset]:
    """Convert the texts `prompt` and `completion`; a `tools` column may stand beside them."""
    toolset = tools.read(raw.get("tools"))
    asked = turns.text(turns.column(raw, "prompt"), "column prompt")
    answered = turns.text(turns.column(raw, "completion"), "column completion")
    said = [{"role": "user", "content": asked}, turns.assistant(answered)]
    return turns.finished(said, toolset), toolset
