"""Tasks as JSON lines: the state before, the question, the gold calls, and checks of what happened.

A task file has data only: no code, and no judge.
"""

import dataclasses
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.agents.probes import OPERATORS, PROBES
from experiments.errors import DataError, did_you_mean

SPLITS = ("train", "validation", "test")
KINDS = ("state", "answer", "trace")
_PREPARATIONS = ("files", "sql", "git", "graph")


@dataclass(frozen=True)
class AgentTask:
    """One task."""

    id: str
    split: str
    category: str
    servers: list[str]
    """Servers whose tools are needed."""
    question: str
    gold: list[dict[str, Any]]
    """Calls with `server`, `name` and `arguments`, in order."""
    checks: list[dict[str, Any]]
    """All must hold: `kind` (one of `KINDS`), `op`, `value`, and for state `probe` and `path`."""
    answer: str = ""
    """The gold answer, given after the gold calls."""
    forbidden: list[dict[str, Any]] = field(default_factory=list)
    """Conditions like `checks`; none may hold."""
    prepare: list[dict[str, Any]] = field(default_factory=list)
    """Steps that make the state before the start: `files`, `sql`, `git`, `graph`."""
    distractor_servers: list[str] = field(default_factory=list)
    """Servers whose tools are shown too."""
    max_calls: int = 8
    """Calls after which the episode ends."""

    def shown_servers(self) -> list[str]:
        """Return the servers whose tools are shown, in the order of their names."""
        return sorted({*self.servers, *self.distractor_servers})


def read(path: Path, servers: Collection[str]) -> list[AgentTask]:
    """Return the tasks of a file.

    Args:
        path: a file of JSON lines.
        servers: names of the servers that exist.

    Raises:
        DataError: the file cannot be read, or a task is not valid; the message has the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as tasks ({error}): give a JSON lines file."
        ) from error
    tasks: list[AgentTask] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            task = _task(line, f"{path}, line {number}", servers)
            if any(task.id == other.id for other in tasks):
                raise DataError(f"{path}, line {number}: id {task.id!r} occurs twice: rename one.")
            tasks.append(task)
    if not tasks:
        raise DataError(f"{path} has no tasks: give a file with one JSON object per line.")
    return tasks


def lines_of(tasks: Sequence[AgentTask]) -> str:
    """Return tasks as JSON lines."""
    rows = (json.dumps(dataclasses.asdict(task), ensure_ascii=False) for task in tasks)
    return "".join(row + "\n" for row in rows)


def _task(line: str, where: str, servers: Collection[str]) -> AgentTask:
    try:
        given = json.loads(line)
        allowed = [key.name for key in dataclasses.fields(AgentTask)]
        for key in given:
            if key not in allowed:
                raise DataError(f"{where}: key {key!r}: {did_you_mean(key, allowed)}.")
        task = AgentTask(**given)
        problem = _problem(task, servers)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: not a task ({error}): see docs/agents.md.") from error
    if problem:
        raise DataError(f"{where}: {problem}.")
    return task


def _problem(task: AgentTask, servers: Collection[str]) -> str | None:
    """Return what is wrong with a task."""
    problems = [_server_problem(name, servers) for name in task.shown_servers()]
    if not task.id or not task.question:
        problems.append("`id` and `question` must not be empty")
    if task.split not in SPLITS:
        problems.append(f"split {task.split!r}: {did_you_mean(task.split, SPLITS)}")
    problems += [_gold_problem(call, task.servers) for call in task.gold]
    if not task.checks:
        problems.append("`checks` is empty: then every episode would pass")
    if len(task.gold) > task.max_calls:
        problems.append(f"gold has {len(task.gold)} calls, but max_calls is {task.max_calls}")
    problems += [_check_problem(check) for check in (*task.checks, *task.forbidden)]
    problems += [_step_problem(step) for step in task.prepare]
    return next(filter(None, problems), None)


def _server_problem(name: str, servers: Collection[str]) -> str | None:
    return None if name in servers else f"server {name!r}: {did_you_mean(name, servers)}"


def _gold_problem(call: dict[str, Any], servers: list[str]) -> str | None:
    if call["server"] not in servers:
        return f"gold calls server {call['server']!r}, which `servers` does not name"
    valid = isinstance(call["name"], str) and isinstance(call["arguments"], dict)
    return None if valid else "a gold call needs `server`, `name` and `arguments`"


def _check_problem(check: dict[str, Any]) -> str | None:
    if check["kind"] not in KINDS:
        return f"kind {check['kind']!r}: {did_you_mean(check['kind'], KINDS)}"
    if check["op"] not in OPERATORS:
        return f"op {check['op']!r}: {did_you_mean(check['op'], OPERATORS)}"
    if check["kind"] == "state" and check["probe"] not in PROBES:
        return f"probe {check['probe']!r}: {did_you_mean(check['probe'], PROBES)}"
    if check["op"] == "close" and not isinstance(check["value"], int | float):
        return f"op close needs a number as value, not {check['value']!r}"
    path = check.get("path", "")
    if check.get("probe") in ("text", "names") and not _is_inside(path):
        return f"path {path!r} must be relative and stay below `files`"
    return None if "value" in check else "a check needs a `value`"


def _step_problem(step: dict[str, Any]) -> str | None:
    for kind, content in step.items():
        if kind not in _PREPARATIONS:
            return f"preparation {kind!r}: {did_you_mean(kind, _PREPARATIONS)}"
        written = content if kind == "files" else {}
        if kind == "git":
            written = {
                name: text for part in content for name, text in part.get("files", {}).items()
            }
        for name in written:
            if not _is_inside(name) or ".git" in PurePosixPath(name).parts:
                return f"file {name!r} must be relative and stay in the episode's folder"
    return None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
