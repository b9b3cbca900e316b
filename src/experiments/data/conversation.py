"""Convert canonical rows into the messages and tools that a chat template receives.

Special tokens in the text are escaped, thinking is removed, and calls have the format that the
template expects: arguments as an object or as JSON text, and ids if the template reads them.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Message = dict[str, Any]
Row = dict[str, Any]
_NINE_CHARACTERS = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True)
class CallShape:
    """The input format that a chat template expects for calls."""

    arguments_as_text: bool = False
    """Arguments as JSON text, as in OpenAI's API, instead of an object."""
    reads_ids: bool = False
    """The template prints or requires call ids."""
    any_id: bool = True
    """The template accepts ids of any length; otherwise they must be nine letters and digits."""


@dataclass(frozen=True)
class Conversation:
    """A row ready for the template: text escaped and thinking removed."""

    id: str
    messages: list[Message]
    tools: list[Any]
    thoughts: dict[int, str] = field(default_factory=dict)
    """Escaped thinking by message index, if thinking is kept."""
    flagged: frozenset[int] = frozenset()
    """Indices of the assistant messages that the data exclude from training."""

    @property
    def turns(self) -> list[int]:
        """Indices of the assistant messages."""
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]

    def kind(self) -> tuple[Any, ...]:
        """Return what a template may distinguish rows by; rows of one kind are split alike."""
        kinds = [
            (m["role"], bool(m["content"].strip()), min(len(m.get("tool_calls") or ()), 2))
            for m in self.messages
        ]
        return bool(self.tools), kinds[0], kinds[-1], frozenset(pairwise(kinds))


def shaped(message: Message, shape: CallShape) -> Message:
    """Return an assistant message with its calls in the format that the template expects."""
    if not shape.arguments_as_text or not message.get("tool_calls"):
        return message
    calls = [
        call | {"function": call["function"] | {"arguments": _arguments_json(call)}}
        for call in message["tool_calls"]
    ]
    return message | {"tool_calls": calls}


def _arguments_json(call: Row) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False)


def with_ids(row: Row, shape: CallShape) -> Row:
    """Return the row with an id in each call and in each tool result.

    Ids from the file are kept if the template accepts them. Other ids are nine hex digits of a hash
    over the row up to the call and the call's position, so a prompt cut from the row has the same
    ids.
    """
    if not any(message.get("tool_calls") for message in row["messages"]):
        return row
    return row | {"messages": list(_with_ids(row, shape))}


def _with_ids(row: Row, shape: CallShape) -> Iterator[Message]:
    digest = hashlib.sha256(json.dumps(row.get("tools") or [], sort_keys=True).encode())
    open_calls: list[tuple[str, str | None, str]] = []
    for message in row["messages"]:
        digest.update(json.dumps(message, sort_keys=True).encode())
        calls = message.get("tool_calls") or []
        if calls:
            ids = [_call_id(call, shape, digest.copy(), i) for i, call in enumerate(calls)]
            calls_with_ids = zip(calls, ids, strict=True)
            open_calls = [
                (c["function"]["name"], c.get("id"), call_id) for c, call_id in calls_with_ids
            ]
            identified = [call | {"id": call_id} for call, call_id in zip(calls, ids, strict=True)]
            yield message | {"tool_calls": identified}
        elif message["role"] == "tool":
            yield message | _result_call_id(message, open_calls)
        else:
            yield message


def _call_id(call: Row, shape: CallShape, digest: Any, position: int) -> str:
    given_id = call.get("id")
    if (
        isinstance(given_id, str)
        and given_id
        and (shape.any_id or _NINE_CHARACTERS.fullmatch(given_id))
    ):
        return given_id
    digest.update(f"call {position}".encode())
    return str(digest.hexdigest()[:9])


def _result_call_id(message: Message, open_calls: list[tuple[str, str | None, str]]) -> Message:
    """Return the id of the call that a result answers, and remove the call from the open ones."""
    call_id, name = message.get("tool_call_id"), message.get("name")
    matching_id = [call for call in open_calls if call_id is not None and call[1] == call_id]
    matching_name = [call for call in open_calls if call[0] == name]
    for call in (matching_id or matching_name)[:1]:
        open_calls.remove(call)
        return {"tool_call_id": call[2]}
    return {}
