"""Rows of the benchmark, shared or made up, calls built from gold, and files of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
DOC = {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}}


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(shared: Path, category: str) -> Iterator[tuple[Row, list[Row] | None]]:
    """Yield each question with its gold calls, None where the category has none."""
    name = f"BFCL_v4_{category}.json"
    answers = shared / "bfcl" / "possible_answer" / name
    gold = {row["id"]: row["ground_truth"] for row in rows(answers)} if answers.is_file() else {}
    for row in rows(shared / "bfcl" / name):
        yield row, gold.get(row["id"])


def answer(functions: list[Row], ground_truth: list[Row]) -> list[Row]:
    """Return calls `{name: {parameter: value}}` of gold's first values; what is optional is out."""
    required = {doc["name"]: doc["parameters"]["required"] for doc in functions}
    return [
        {name: _arguments(allowed, required[name])}
        for call in ground_truth
        for name, allowed in call.items()
    ]


def _arguments(allowed: dict[str, list[Any]], required: list[str]) -> Row:
    """Take the first value that is not ""; leave out what may be left out and is not required."""
    return {name: _plain(value) for name, value in _first(allowed, required).items()}


def _first(allowed: dict[str, list[Any]], required: list[str]) -> Row:
    return {
        name: next((value for value in values if value != ""), "")
        for name, values in allowed.items()
        if name in required or "" not in values
    }


def _plain(value: Any) -> Any:
    """Choose inside dicts and lists of dicts, whose keys have lists of allowed values too."""
    if isinstance(value, dict):
        return _first(value, [])
    if isinstance(value, list):
        return [_first(item, []) if isinstance(item, dict) else item for item in value]
    return value


def as_fc(calls: list[Row]) -> list[Row]:
    return [{name: json.dumps(given) for name, given in call.items()} for call in calls]


def as_tags(calls: list[Row]) -> str:
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': given})}\n</tool_call>"
        for call in calls
        for name, given in call.items()
    )


def as_python(calls: list[Row]) -> str:
    return f"[{', '.join(_source(name, given) for call in calls for name, given in call.items())}]"


def _source(name: str, given: Row) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})"


def lines(path: Path, *content: object) -> Path:
    """Write each object as a JSON line, text and bytes as they are."""
    parts = [
        line if isinstance(line, bytes) else str(line).encode()
        for line in (c if isinstance(c, str | bytes) else json.dumps(c) for c in content)
    ]
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


def question(id_: str, **other: Any) -> dict[str, Any]:
    return {"id": id_, "question": [[]], "function": [DOC]} | other


def gold(id_: str) -> dict[str, Any]:
    return {"id": id_, "ground_truth": [{"f": {"x": [1]}}]}
