"""Write answers and verdicts to `result/` and `score/` folders in the layout of BFCL v4.

    result/<model>/non_live/BFCL_v4_simple_python_result.json   {"id", "result"} a line
    score/<model>/non_live/BFCL_v4_simple_python_score.json     the share, then each failing item

Layout: ShishirPatil/gorilla@6ea5797, `result/` and `score/` of its published models.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import DataError
from experiments.toolcalls.bfcl.decoding import THINKING_END
from experiments.toolcalls.bfcl.grading import check_category


@dataclass(frozen=True)
class Answered:
    """One benchmark item with its answer and verdict."""

    category: str
    id: str
    text: str
    """The complete answer; its thinking is written separately, as upstream does."""
    valid: bool
    error_type: str | None = None
    error: str = ""


def write(folder: Path, model_name: str, rows: Iterable[Answered]) -> list[Path]:
    """Write the files of all categories that occur, and return their paths.

    Args:
        folder: parent of the folders `result` and `score`.
        model_name: name of the model; slashes become underscores, as upstream.
        rows: answered items, in the order in which they are written.

    Raises:
        ConfigError: a category that is not scored here.
        DataError: a file cannot be written.
    """
    rows_by_category: dict[str, list[Answered]] = {}
    for row in rows:
        rows_by_category.setdefault(row.category, []).append(row)
    model = model_name.replace("/", "_")
    paths = []
    for category, category_rows in rows_by_category.items():
        check_category(category)
        part = "live" if category.startswith("live_") else "non_live"
        for kind, lines in (("result", _results(category_rows)), ("score", _scores(category_rows))):
            path = folder / kind / model / part / f"BFCL_v4_{category}_{kind}.json"
            write_lines(path, lines)
            paths.append(path)
    return paths


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines with everything outside of ASCII escaped, including unpaired surrogates.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}): choose another path."
        ) from error


def _results(rows: Sequence[Answered]) -> list[dict[str, Any]]:
    lines = []
    for row in rows:
        thinking, end_tag, answer = row.text.rpartition(THINKING_END)
        line = {"id": row.id, "result": answer.lstrip("\n") if end_tag else answer}
        if end_tag:
            line["reasoning_content"] = thinking.rpartition("<think>")[2].strip("\n")
        lines.append(line)
    return lines


def _scores(rows: Sequence[Answered]) -> list[dict[str, Any]]:
    correct = sum(row.valid for row in rows)
    total = {"accuracy": correct / len(rows), "correct_count": correct, "total_count": len(rows)}
    failing = [
        {"id": row.id, "valid": False, "error": [row.error], "error_type": row.error_type}
        for row in rows
        if not row.valid
    ]
    return [total, *failing]
