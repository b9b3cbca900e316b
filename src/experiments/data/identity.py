"""Compute the hashes that identify a canonical row.

The hashes are: content, prompt, near-duplicate keys and draw rank. None of them depends on the
order of an object's keys, on the position of a row in its list, or on the process.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def content(row: Row) -> str:
    """Return the sha256 of the complete row, as 64 hex digits."""
    return _sha256(row)


def keys(row: Row) -> dict[str, str | None]:
    """Return the three keys of a row; rows reduced to their tokens carry them along."""
    return {"prompt": prompt(row), "near": near_key(row), "dialogue": dialogue_key(row)}


def prompt(row: Row) -> str:
    """Return the sha256 of the messages before the last assistant turn and of the tools."""
    if "keys" in row:
        return str(row["keys"]["prompt"])
    return _sha256([_before_the_answer(row), row.get("tools") or []])


def near_key(row: Row) -> str | None:
    """Return sha1(last user text + sorted tool names), or None for a row without user text.

    The text is compared ignoring case, runs of white space and Unicode compatibility forms.
    Numbers, signs and punctuation count, since they carry argument values.

    >>> calls = [{"type": "function", "function": {"name": "weather"}}]
    >>> one = {"messages": [{"role": "user", "content": "Rain in  Oslo?"}], "tools": calls}
    >>> two = {"messages": [{"role": "user", "content": "rain in Oslo? "}], "tools": calls}
    >>> near_key(one) == near_key(two)
    True
    """
    return _stored_key(row, "near") if "keys" in row else _key(_user_texts(row)[-1:], row)


def dialogue_key(row: Row) -> str | None:
    """Return sha1(all user texts + sorted tool names); equals near_key for one user turn.

    "No, thanks." ends thousands of different dialogues over the same tools, so the last text is not
    enough to call a training row a leaked test row.
    """
    return _stored_key(row, "dialogue") if "keys" in row else _key(_user_texts(row), row)


def ranked(rows: Sequence[Row], *salt: object) -> list[int]:
    """Return the indices of rows in a random order determined by `salt`, the seed first.

    Rows are sorted by a hash of their id and source, and by their content where ids are equal, so
    the order depends on the rows and not on their positions.
    """
    ranks = [_rank((*salt, row.get("source"), row.get("id"))) for row in rows]
    groups: dict[bytes, list[int]] = {}
    for index, rank in enumerate(ranks):
        groups.setdefault(rank, []).append(index)
    order: list[int] = []
    for rank in sorted(groups):
        indices = groups[rank]
        if len(indices) > 1:
            indices = sorted(indices, key=lambda i: _rank((*salt, content(rows[i]))))
        order += indices
    return order


def tool_names(row: Row) -> list[str]:
    """Return the sorted, unique names of the tools offered in a row."""
    functions = [tool.get("function", tool) for tool in row.get("tools") or []]
    return sorted({str(function.get("name", "")) for function in functions})


def fingerprint(digests: Iterable[str]) -> str:
    """Return the sha256 over content digests in the order received, as 64 hex digits."""
    combined = hashlib.sha256()
    for digest in digests:
        combined.update(digest.encode())
    return combined.hexdigest()


def _stored_key(row: Row, name: str) -> str | None:
    key: str | None = row["keys"][name]
    return key


def _before_the_answer(row: Row) -> list[Row]:
    messages: list[Row] = row["messages"]
    if messages and messages[-1]["role"] == "user":  # not answered yet
        return messages
    answer_indices = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[: answer_indices[-1]] if answer_indices else messages


def _user_texts(row: Row) -> list[str]:
    texts = [
        message.get("content") or "" for message in row["messages"] if message["role"] == "user"
    ]
    return [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts]


def _key(texts: list[str], row: Row) -> str | None:
    if not any(texts):
        return None
    parts = json.dumps([texts, tool_names(row)]).encode()
    return hashlib.sha1(parts, usedforsecurity=False).hexdigest()


def _rank(parts: tuple[object, ...]) -> bytes:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).digest()


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
