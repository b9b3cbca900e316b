"""A canonical row -> the messages and tools that are given to a chat template.

Text is guarded, thinking is taken out, and calls have the form that the template takes: arguments
as an object or as JSON text, and ids where the template reads them.
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
_NINE = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True)
class CallShape:
    """How a chat template wants calls to be given."""

    arguments_as_text: bool = False
    """Arguments as JSON text, as in OpenAI's API, instead of an object."""
    reads_ids: bool = False
    """The template writes or demands ids of calls."""
    any_id: bool = True
    """It takes ids of any length; else of nine letters and digits."""


@dataclass(frozen=True)
class Conversation:
    """A row ready for the template: guarded, and without thinking."""

    id: str
    messages: list[Message]
    tools: list[Any]
    thoughts: dict[int, str] = field(default_factory=dict)
    """Index of a message -> its guarded thinking, where that is kept."""
    flagged: frozenset[int] = frozenset()
    """Indices of the assistant's messages that the data say not to train."""

    @property
    def turns(self) -> list[int]:
        """Indices of the assistant's messages."""
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]

    def kind(self) -> tuple[Any, ...]:
        """What a template may tell rows apart by: two rows of one kind are cut alike."""
        kinds = [
            (m["role"], bool(m["content"].strip()), min(len(m.get("tool_calls") or ()), 2))
            for m in self.messages
        ]
        return bool(self.tools), kinds[0], kinds[-1], frozenset(pairwise(kinds))


def shaped(message: Message, shape: CallShape) -> Message:
    """Return an assistant's message with its calls as the template takes them."""
    if not shape.arguments_as_text or not message.get("tool_calls"):
        return message
    calls = [
        call | {"function": call["function"] | {"arguments": _text(call)}}
        for call in message["tool_calls"]
    ]
    return message | {"tool_calls": calls}


def _text(call: Row) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False)


def with_ids(row: Row, shape: CallShape) -> Row:
    """Return the row with an id in each call and in each result.

    Ids of the file are kept where the template takes them. The others are nine letters and digits
    from a hash of the row up to the call and of the call's position, so that a prompt that ends
    before the row does holds the same ids.
    """
    if not any(message.get("tool_calls") for message in row["messages"]):
        return row
    return row | {"messages": list(_with_ids(row, shape))}


def _with_ids(row: Row, shape: CallShape) -> Iterator[Message]:
    digest = hashlib.sha256(json.dumps(row.get("tools") or [], sort_keys=True).encode())
    waiting: list[tuple[str, str | None, str]] = []
    for message in row["messages"]:
        digest.update(json.dumps(message, sort_keys=True).encode())
        calls = message.get("tool_calls") or []
        if calls:
            ids = [_id(call, shape, digest.copy(), i) for i, call in enumerate(calls)]
            named = zip(calls, ids, strict=True)
            waiting = [(c["function"]["name"], c.get("id"), new) for c, new in named]
            renamed = [call | {"id": new} for call, new in zip(calls, ids, strict=True)]
            yield message | {"tool_calls": renamed}
        elif message["role"] == "tool":
            yield message | _answered(message, waiting)
        else:
            yield message


def _id(call: Row, shape: CallShape, digest: Any, position: int) -> str:
    own = call.get("id")
    if isinstance(own, str) and own and (shape.any_id or _NINE.fullmatch(own)):
        return own
    digest.update(f"call {position}".encode())
    return str(digest.hexdigest()[:9])


def _answered(message: Message, waiting: list[tuple[str, str | None, str]]) -> Message:
    """Return the id of the call that a result answers, and take the call off the waiting ones."""
    own, name = message.get("tool_call_id"), message.get("name")
    by_id = [call for call in waiting if own is not None and call[1] == own]
    by_name = [call for call in waiting if call[0] == name]
    for call in (by_id or by_name)[:1]:
        waiting.remove(call)
        return {"tool_call_id": call[2]}
    return {}
