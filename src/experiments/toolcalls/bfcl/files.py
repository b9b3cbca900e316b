"""Read the benchmark's files and a model's predictions; broken predictions count as invalid.

Questions and answers are the benchmark's own files, so an error in them stops the scoring.
Predictions come from a model that may have crashed, so each error in them is reported and only
invalidates its own item.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import ConfigError, DataError
from experiments.toolcalls.bfcl.checking import gold_problem
from experiments.toolcalls.bfcl.grading import REFUSED, categories, check_category, needs_gold
from experiments.toolcalls.bfcl.verdicts import Verdict, invalid

MISSING, DUPLICATE = "prediction:missing", "prediction:duplicate"
UNREADABLE, NO_RESULT = "prediction:unreadable", "prediction:no_result"
# An incomplete JSON line usually still contains its id.
_ID = re.compile(r'\s*\{\s*"id"\s*:\s*("(?:[^"\\]|\\.)*")')
_OFFICIAL_ID = re.compile(r"([a-z_]+)_[\d-]+")
_MAX_LISTED = 5  # maximum number of broken lines and extra ids that are listed


@dataclass(frozen=True)
class BfclTask:
    """One question with its gold answer."""

    id: str
    functions: Any
    """Function descriptions in BFCL's format."""
    ground_truth: Any
    """Gold calls; None for irrelevance and relevance."""


@dataclass(frozen=True)
class Predictions:
    """The contents of a predictions file, by id."""

    results: dict[str, Any]
    """The answer for each id that has exactly one."""
    verdicts: dict[str, Verdict]
    """Invalid verdicts, for questions without exactly one readable answer."""
    remarks: list[str]
    """Descriptions of the errors in the file."""


def read_tasks(
    category: str, questions: Path, answers: Path | None
) -> tuple[list[BfclTask], list[str]]:
    """Read questions and, if the category has them, gold answers.

    Returns:
        The tasks in the order of the questions, and a remark if some answers match no question.

    Raises:
        ConfigError: the category is not scored here, or `answers` does not match it.
        DataError: a file is broken, or the two files do not match.
    """
    check_category(category)
    if needs_gold(category) != (answers is not None):
        requirement = (
            "needs --answers FILE" if answers is None else "has no gold answers: omit --answers"
        )
        raise ConfigError(f"category '{category}' {requirement}.")
    rows = _by_id(questions, "--questions")
    for id_, row in rows.items():
        _check_question(questions, category, id_, row)
    if answers is None:
        return [BfclTask(id_, row["function"], None) for id_, row in rows.items()], []
    answers_by_id = _by_id(answers, "--answers")
    unanswered = [id_ for id_ in rows if id_ not in answers_by_id]
    if unanswered:
        raise DataError(
            f"--answers {answers}: no answer to {len(unanswered)} of {len(rows)} questions (first: "
            f"{unanswered[0]!r}); give the answers of the same category."
        )
    for id_ in rows:
        problem = gold_problem(answers_by_id[id_].get("ground_truth"))
        if problem:
            raise DataError(f"--answers {answers}, id {id_!r}: {problem}; give BFCL's own file.")
    tasks = [
        BfclTask(id_, row["function"], answers_by_id[id_]["ground_truth"])
        for id_, row in rows.items()
    ]
    unmatched = [f"{id_[:80]!r}" for id_ in answers_by_id if id_ not in rows]
    return tasks, _remark(answers, "answers match no question and are ignored", unmatched)


def _check_question(path: Path, category: str, id_: str, row: dict[str, Any]) -> None:
    if not isinstance(row.get("function"), list):
        raise DataError(
            f"--questions {path}, id {id_!r}: 'function' is not a list; give BFCL's own file."
        )
    official_id = _OFFICIAL_ID.fullmatch(id_)
    if official_id and official_id[1] != category and official_id[1] in (*categories(), *REFUSED):
        raise DataError(
            f"--questions {path}, id {id_!r}: it belongs to category '{official_id[1]}', but "
            f"--category is '{category}'; give the questions of one category."
        )


def _by_id(path: Path, option: str) -> dict[str, dict[str, Any]]:
    """Read one of the benchmark's own files, where any error is fatal.

    Raises:
        DataError: it cannot be read, is empty, or has a broken line or a repeated id.
    """
    rows: dict[str, dict[str, Any]] = {}
    for number, line in _lines(path, option):
        row, problem = _parse_line(line)
        if row is None:
            raise DataError(f"{option} {path}, line {number}: {problem}; give BFCL's own file.")
        if row["id"] in rows:
            raise DataError(
                f"{option} {path}, line {number}: duplicate id {row['id']!r}; give BFCL's own file."
            )
        rows[row["id"]] = row
    if not rows:
        raise DataError(f"{option} {path}: the file is empty; give BFCL's own file.")
    return rows


def _lines(path: Path, option: str) -> Iterator[tuple[int, bytes]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{option} {path}: {error.strerror}; give a file of JSON lines.") from error
    # Not splitlines: an answer's text may contain other line separators, unescaped.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, line


def _parse_line(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """Parse a line as an object with an id, or return None and the problem."""
    try:
        row = json.loads(line.decode("utf-8"))
    except RecursionError:
        return None, "nested too deeply"
    except ValueError:
        return None, "not a complete JSON object in UTF-8"
    if not isinstance(row, dict):
        return None, "not a JSON object"
    if not isinstance(row.get("id"), str):
        return None, "'id' is missing or not a string"
    return row, ""


def read_predictions(path: Path, ids: Sequence[str]) -> Predictions:
    """Read a result file; `ids` are the ids of the questions.

    Raises:
        DataError: the file cannot be read.
    """
    results: dict[str, Any] = {}
    counts: dict[str, int] = {}
    broken_lines: list[str] = []
    unreadable_ids: set[str] = set()
    for number, line in _lines(path, "--predictions"):
        row, problem = _parse_line(line)
        if row is None:
            broken_lines.append(f"line {number} ({problem})")
            unreadable_ids.update(_ids_of_broken_line(line))
            continue
        counts[row["id"]] = counts.get(row["id"], 0) + 1
        if "result" in row:
            results[row["id"]] = row["result"]
    verdicts: dict[str, Verdict] = {}
    for id_ in ids:
        if counts.get(id_, 0) > 1:
            verdicts[id_] = invalid(DUPLICATE)
        elif id_ not in counts:
            verdicts[id_] = invalid(UNREADABLE if id_ in unreadable_ids else MISSING)
        elif id_ not in results:
            verdicts[id_] = invalid(NO_RESULT)
    known_ids = set(ids)
    unmatched = [f"{id_[:80]!r}" for id_ in counts if id_ not in known_ids]
    remarks = [
        *_remark(path, "lines are not predictions", broken_lines),
        *_remark(path, "ids match no question and are not counted", unmatched),
    ]
    return Predictions(results, verdicts, remarks)


def _remark(path: Path, description: str, items: list[str]) -> list[str]:
    suffix = " and more" if len(items) > _MAX_LISTED else ""
    listing = ", ".join(items[:_MAX_LISTED]) + suffix
    return [f"{path}: {len(items)} {description}: {listing}"] if items else []


def _ids_of_broken_line(line: bytes) -> list[str]:
    match = _ID.match(line.decode("utf-8", "replace"))
    if match is None:
        return []
    try:
        return [str(json.loads(match[1]))]
    except ValueError:
        return []
