"""Find keys of messages, calls and content parts that no format reads."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from experiments.data.formats import flags
from experiments.data.formats.rejection import Row

_ANY = frozenset(("role", "content", "id", "uuid", "index", "idx", *flags.NAMES))
THOUGHTS = frozenset(("reasoning_content", "thinking", "reasoning"))
_ASSISTANT = _ANY | THOUGHTS | {"tool_calls", "function_call"}
_TOOL = _ANY | {"name", "tool_call_id"}
_OF_ROLE = {
    **dict.fromkeys(("system", "developer", "user"), _ANY),
    **{"assistant": _ASSISTANT, "tool": _TOOL, "function": _TOOL},
}
_SPOKEN = _ANY | {"from", "value"}
_CALL = frozenset(("id", "type", "index", "function", "name", "arguments"))
_PART = frozenset(
    (
        *("type", "text", "thinking", "signature", "id", "name", "input"),
        *("tool_use_id", "content"),
    )
)
# Columns with turns, and the formats that read them as OpenAI messages.
_COLUMNS = ("messages", "conversations", "prompt", "completion", "chosen_response")
_AS_MESSAGES = frozenset(("messages", "prompt_completion", "when2call"))
_CALLING = ("glaive_v2_formatted", "messages")
_EMPTY: tuple[Any, ...] = (None, "", [], {})


@lru_cache(maxsize=1)
def parsed(text: str) -> Any:
    """Parse the text of a list of messages; the last result is cached and must not be modified.

    Raises:
        ValueError: the text is not JSON.
    """
    return json.loads(text)


def unused(layout: str, raw: Row) -> list[str]:
    """Return the unique keys with a value that are not read, as `messages[].name`."""
    found: list[str] = []
    for column in _COLUMNS:
        if column not in raw:
            continue
        value = raw[column]
        if isinstance(value, str) and column == "messages":
            value = _parsed_or_none(value)
        listed = value if isinstance(value, list) else [value]
        if layout in _AS_MESSAGES or (layout, column) == _CALLING:
            _of_messages(found, listed, column)
        else:
            for turn in listed:
                if isinstance(turn, dict) and not _SPOKEN.issuperset(turn):
                    found += _others(turn, _SPOKEN, column)
    return list(dict.fromkeys(found)) if found else found


def _parsed_or_none(text: str) -> Any:
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        return None


def _of_messages(found: list[str], messages: list[Any], column: str) -> None:
    """Add the unread keys of OpenAI messages, with one set operation per message, call and part."""
    for turn in messages:
        try:
            known = _OF_ROLE[turn["role"]]
        except (KeyError, TypeError):  # the row is rejected elsewhere
            continue
        if not known.issuperset(turn):
            found += _others(turn, known, column)
        if "content" in turn and type(turn["content"]) is list:
            found += _inside(turn["content"], _PART, f"{column}[].content")
        if "tool_calls" in turn and type(turn["tool_calls"]) is list:
            found += _inside(turn["tool_calls"], _CALL, f"{column}[].tool_calls")


def _inside(items: list[Any], known: frozenset[str], where: str) -> list[str]:
    odd = [item for item in items if isinstance(item, dict) and not known.issuperset(item)]
    return [name for item in odd for name in _others(item, known, where)]


def _others(given: Row, known: frozenset[str], where: str) -> Iterator[str]:
    for key, value in given.items():
        if key not in known and value not in _EMPTY:
            yield f"{where}[].{key}"
