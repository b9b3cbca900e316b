"""Task files: what is read back, and what is refused with its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.agents import builtin_tasks, task_files
from experiments.errors import DataError

SERVERS = ("filesystem", "git", "math", "memory", "sqlite", "time")
GOOD: dict[str, Any] = {
    "id": "one",
    "split": "test",
    "category": "read",
    "servers": ["math"],
    "question": "What is 1 + 2?",
    "gold": [{"server": "math", "name": "sum", "arguments": {"numbers": [1, 2]}}],
    "checks": [{"kind": "answer", "op": "close", "value": 3}],
}
STATE = {"kind": "state", "probe": "text", "op": "=", "value": 1}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    made = builtin_tasks.tasks(count=60)
    path.write_text(task_files.lines_of(made))
    assert task_files.read(path, SERVERS) == made


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"colour": 1}, "key 'colour'"),
        ({"servers": ["maths"]}, "server 'maths': did you mean 'math'"),
        ({"servers": ["time"]}, "gold calls server 'math', which `servers` does not name"),
        ({"split": "tests"}, "split 'tests': did you mean 'test'"),
        ({"checks": []}, "`checks` is empty"),
        ({"checks": [{"kind": "judge", "op": "=", "value": 1}]}, "kind 'judge'"),
        ({"checks": [{"kind": "answer", "op": "~", "value": 1}]}, "op '~'"),
        ({"checks": [{"kind": "answer", "op": "close", "value": "3"}]}, "needs a number"),
        ({"checks": [{"kind": "answer", "op": "="}]}, "a check needs a `value`"),
        (
            {"checks": [{"kind": "state", "probe": "sq", "op": "=", "value": 1}]},
            "probe 'sq': did you mean 'sql'",
        ),
        (
            {"forbidden": [{**STATE, "path": "../a"}]},
            "path '../a' must be relative",
        ),
        ({"prepare": [{"file": {}}]}, "preparation 'file': did you mean 'files'"),
        ({"prepare": [{"files": {"/etc/a": "x"}}]}, "file '/etc/a' must be relative"),
        ({"prepare": [{"git": [{"files": {".git/config": "x"}}]}]}, "file '.git/config'"),
        ({"max_calls": 0}, "gold has 1 calls, but max_calls is 0"),
        ({"question": ""}, "`id` and `question` must not be empty"),
        ({"gold": ["sum"]}, "not a task"),
    ],
)
def test_a_wrong_task_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, "id": "two", **changed}))
    with pytest.raises(DataError) as caught:
        task_files.read(path, SERVERS)
    assert "line 2: " in str(caught.value) and message in str(caught.value)


def test_an_id_that_occurs_twice_and_a_file_without_tasks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}\n")
    with pytest.raises(DataError, match="line 2: id 'one' occurs twice"):
        task_files.read(path, SERVERS)
    path.write_text("\n")
    with pytest.raises(DataError, match="has no tasks"):
        task_files.read(path, SERVERS)
    with pytest.raises(DataError, match="cannot be read as tasks"):
        task_files.read(tmp_path / "none.jsonl", SERVERS)
