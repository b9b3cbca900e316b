"""Find keys of messages, calls and content parts that no format reads."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from experiments.data.formats import flags
from experiments.data.formats.rejection import Row

_COMMON_KEYS = frozenset(("role", "content", "id", "uuid", "index", "idx", *flags.NAMES))
THOUGHTS = frozenset(("reasoning_content", "thinking", "reasoning"))
_ASSISTANT_KEYS = _COMMON_KEYS | THOUGHTS | {"tool_calls", "function_call"}
_TOOL_KEYS = _COMMON_KEYS | {"name", "tool_call_id"}
_KEYS_BY_ROLE = {
    **dict.fromkeys(("system", "developer", "user"), _COMMON_KEYS),
    **{"assistant": _ASSISTANT_KEYS, "tool": _TOOL_KEYS, "function": _TOOL_KEYS},
}
_SHAREGPT_KEYS = _COMMON_KEYS | {"from", "value"}
_CALL_KEYS = frozenset(("id", "type", "index", "function", "name", "arguments"))
_PART_KEYS = frozenset(
    (
        *("type", "text", "thinking", "signature", "id", "name", "input"),
        *("tool_use_id", "content"),
    )
)
# Columns with turns, and the formats that read them as OpenAI messages.
_COLUMNS = ("messages", "conversations", "prompt", "completion", "chosen_response")
_AS_MESSAGES = frozenset(("messages", "prompt_completion", "when2call"))
_GLAIVE_MESSAGES = ("glaive_v2_formatted", "messages")
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
    unread: list[str] = []
    for column in _COLUMNS:
        if column not in raw:
            continue
        value = raw[column]
        if isinstance(value, str) and column == "messages":
            value = _parsed_or_none(value)
        items = value if isinstance(value, list) else [value]
        if layout in _AS_MESSAGES or (layout, column) == _GLAIVE_MESSAGES:
            _add_unread_keys(unread, items, column)
        else:
            for turn in items:
                if isinstance(turn, dict) and not _SHAREGPT_KEYS.issuperset(turn):
                    unread += _unread_keys(turn, _SHAREGPT_KEYS, column)
    return list(dict.fromkeys(unread)) if unread else unread


def _parsed_or_none(text: str) -> Any:
    try:
        return parsed(text)
    except (ValueError, RecursionError):
        return None


def _add_unread_keys(unread: list[str], messages: list[Any], column: str) -> None:
    """Add the unread keys of OpenAI messages, with one set operation per message, call and part."""
    for turn in messages:
        try:
            known = _KEYS_BY_ROLE[turn["role"]]
        except (KeyError, TypeError):  # the row is rejected elsewhere
            continue
        if not known.issuperset(turn):
            unread += _unread_keys(turn, known, column)
        if "content" in turn and type(turn["content"]) is list:
            unread += _unread_in_items(turn["content"], _PART_KEYS, f"{column}[].content")
        if "tool_calls" in turn and type(turn["tool_calls"]) is list:
            unread += _unread_in_items(turn["tool_calls"], _CALL_KEYS, f"{column}[].tool_calls")


def _unread_in_items(items: list[Any], known: frozenset[str], where: str) -> list[str]:
    unusual = [item for item in items if isinstance(item, dict) and not known.issuperset(item)]
    return [name for item in unusual for name in _unread_keys(item, known, where)]


def _unread_keys(mapping: Row, known: frozenset[str], where: str) -> Iterator[str]:
    for key, value in mapping.items():
        if key not in known and value not in _EMPTY:
            yield f"{where}[].{key}"
