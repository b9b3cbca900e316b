"""A data description -> canonical rows by split; a row that cannot be read is counted, not mended.

Canonical row: `id`, `source`, `messages` (the last one the assistant's), `tools`, and where known
`category`, `schema`, `expects`. Tool arguments are objects, read with `json.loads`, so that no
digit of a value changes.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments import toolworld
from experiments.config import ColumnsConfig, DataConfig
from experiments.errors import DataError, did_you_mean

Row = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool")


@dataclass
class Rows:
    """Canonical rows by split."""

    splits: dict[str, list[Row]]
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason -> number of rows that could not be read as a conversation."""
    files: dict[str, str] = field(default_factory=dict)
    """File -> sha256 of its bytes."""


class _Rejected(Exception):
    """A row that is no conversation; the text is the reason."""


def read(spec: DataConfig) -> Rows:
    """Read or generate the rows of a data description.

    Raises:
        DataError: a file is missing, empty, not JSON lines, or mostly unreadable.
    """
    return _generate(spec) if spec.source == "toolworld" else _read_file(spec)


def _generate(spec: DataConfig) -> Rows:
    splits = {}
    for split in toolworld.SPLITS:
        count = getattr(spec, f"{split}_rows") or 0
        if count:
            made = toolworld.rows(split, count, seed=spec.seed, weights=spec.weights)
            splits[split] = [dict(row) for row in made]
    return Rows(splits)


def _read_file(spec: DataConfig) -> Rows:
    assert spec.path is not None, "DataConfig.problems demands a path"
    path = Path(spec.path).expanduser()
    if not path.is_file():
        raise DataError(f"data.path={spec.path}: there is no such file (looked in {Path.cwd()}).")
    rows: list[Row] = []
    rejected: Counter[str] = Counter()
    for number, line in enumerate(_json_lines(path), 1):
        try:
            rows.append(_canonical(line, spec.columns, f"{path.stem}-{number}"))
        except _Rejected as reason:
            rejected[str(reason)] += 1
    _check_enough(path, rows, rejected, spec.max_reject_share)
    random.Random(f"split {spec.seed}").shuffle(rows)
    rows = rows[: spec.limit]
    validation = round(len(rows) * (spec.validation_share or 0))
    test = round(len(rows) * (spec.test_share or 0))
    splits = {
        "test": rows[:test],
        "validation": rows[test : test + validation],
        "train": rows[test + validation :],
    }
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Rows({k: v for k, v in splits.items() if v}, rejected, {path.name: digest})


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{path}, line {number}: not JSON ({error}); each line must be one JSON object."
                ) from error
            if not isinstance(value, dict):
                raise DataError(f"{path}, line {number}: a JSON {type(value).__name__}, no object.")
            yield value


def _check_enough(path: Path, rows: list[Row], rejected: Counter[str], allowed: float) -> None:
    total = len(rows) + rejected.total()
    if total == 0:
        raise DataError(f"{path} holds no rows: give a file with one JSON object a line.")
    if not rows or rejected.total() / total > allowed:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in rejected.most_common(3))
        raise DataError(
            f"{path}: {rejected.total()} of {total} rows are no conversations: {reasons}. Name the "
            "columns with data.columns.*, or allow more with data.max_reject_share."
        )


def _canonical(line: Row, columns: ColumnsConfig, fallback_id: str) -> Row:
    row_id = str(line.get(columns.id or "id", fallback_id))
    if columns.prompt or columns.completion or ("prompt" in line and "messages" not in line):
        prompt = _text(line, columns.prompt or "prompt")
        completion = _text(line, columns.completion or "completion")
        messages: list[Row] = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": completion},
        ]
        return {"id": row_id, "source": "jsonl", "messages": messages, "tools": []}
    messages = [_message(m) for m in _list(line, columns.messages or "messages")]
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()  # nothing is trained after the last assistant turn
    if not messages:
        raise _Rejected("no assistant turn")
    tools_key = columns.tools or "tools"
    tools = _list(line, tools_key) if line.get(tools_key) else []
    row = {"id": row_id, "source": str(line.get("source", "jsonl")), "messages": messages}
    kept = {k: line[k] for k in ("category", "schema", "expects") if k in line}
    return row | {"tools": tools} | kept


def _text(line: Row, key: str) -> str:
    value = _column(line, key)
    if not isinstance(value, str) or not value.strip():
        raise _Rejected(f"column {key} is empty or no text")
    return value


def _list(line: Row, key: str) -> list[Any]:
    value = _column(line, key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise _Rejected(f"column {key} is no JSON list") from None
    if not isinstance(value, list):
        raise _Rejected(f"column {key} is no list")
    return value


def _column(line: Row, key: str) -> Any:
    if key not in line:
        raise _Rejected(f"no column '{key}': {did_you_mean(key, sorted(line))}")
    return line[key]


def _message(message: Any) -> Row:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise _Rejected(f"a message without a role of {', '.join(ROLES)}")
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise _Rejected("content is no text")
    clean: Row = {"role": message["role"], "content": content or ""}
    if message.get("tool_calls"):
        clean["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    if message["role"] == "tool" and "name" in message:
        clean["name"] = message["name"]
    return clean


def _call(call: Any) -> Row:
    function = call.get("function", call) if isinstance(call, dict) else {}
    name, arguments = function.get("name"), function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            raise _Rejected("the arguments of a call are no JSON") from None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise _Rejected("a call without a name or with arguments that are no object")
    return {"type": "function", "function": {"name": name, "arguments": arguments}}
