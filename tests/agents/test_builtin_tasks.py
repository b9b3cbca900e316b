"""The built-in tasks: number, diversity, splits, and that servers tell right from wrong."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT
from experiments.agents import builtin_tasks, task_checking, task_files, task_words
from experiments.agents.server_group import ServerGroup

TASKS = builtin_tasks.tasks()
HASH = "1730830299eb19e8"  # printed by `python -m experiments tasks`


def test_there_are_as_many_and_as_different_tasks_as_promised() -> None:
    sequences = Counter(builtin_tasks.sequences(TASKS))
    across = [task for task in TASKS if len({call["server"] for call in task.gold}) > 1]
    assert builtin_tasks.digest(TASKS) == HASH
    assert len(TASKS) >= 300 and len(sequences) >= 60
    assert max(sequences.values()) <= 0.03 * len(TASKS)
    assert len(across) >= len(TASKS) / 5
    assert len({call["server"] for task in TASKS for call in task.gold}) == 6
    assert {"chain", "no_tool", "missing_argument", "injected"} <= {t.category for t in TASKS}
    assert {task.split for task in TASKS} == {"train", "validation", "test"}


def test_values_and_wordings_of_the_test_split_occur_in_no_other() -> None:
    pools = (task_words._ITEMS, task_words._PEOPLE, task_words._WORDS, task_words._TABLES)
    values = {value for _, test in pools for value in test}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for task in TASKS:
        text = task.question + json.dumps(task.prepare)
        found[task.split == "test"] |= values & set(re.findall(r"[A-Za-z]+", text))
    assert not found[False] and len(found[True]) >= 0.9 * len(values)
    questions = {s: {t.question for t in TASKS if t.split == s} for s in ("train", "test")}
    assert not questions["train"] & questions["test"]


def test_another_seed_gives_other_tasks() -> None:
    other = builtin_tasks.tasks(seed=1)
    assert [t.category for t in other] == [t.category for t in TASKS]
    assert sum(a.question == b.question for a, b in zip(TASKS, other, strict=True)) < 60


@pytest.mark.slow
def test_gold_passes_twice_and_doing_nothing_or_less_fails(servers: ServerGroup) -> None:
    assert task_checking.problems(TASKS[::20], servers) == {}


@pytest.mark.nightly
def test_all_tasks_hold(servers: ServerGroup) -> None:
    assert task_checking.problems(TASKS, servers) == {}


def test_the_task_of_the_page_holds(servers: ServerGroup, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^(\{\"id\".*?\})\n```$", page, re.S | re.M)
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(json.loads(text)))
    assert task_checking.problems(task_files.read(path, servers.specs), servers) == {}


def test_a_task_that_cannot_tell_right_from_wrong_is_named_with_the_reason(
    servers: ServerGroup,
) -> None:
    change = next(task for task in TASKS if task.category == "change" and len(task.gold) == 1)
    state = {"kind": "state", "probe": "text", "path": "a.txt", "op": "=", "value": "x"}
    call = {"server": change.gold[0]["server"], "name": "no_such_tool", "arguments": {}}
    wrong = [
        dataclasses.replace(change, id="true before", checks=[{**state, "value": None}]),
        dataclasses.replace(change, id="gold fails", checks=[state]),
        dataclasses.replace(change, id="gold call fails", gold=[call]),
        dataclasses.replace(
            change,
            id="needless",
            checks=[{"kind": "answer", "op": "contains", "value": change.answer}],
        ),
        dataclasses.replace(change, id="bad start", prepare=[{"sql": ["CREAT"]}]),
    ]
    found = task_checking.problems([change, *wrong], servers)
    assert change.id not in found
    assert found["true before"] == "an episode without calls and answer passes"
    assert found["gold fails"] == "the gold calls and answer do not pass"
    assert found["gold call fails"].startswith("gold call ")
    assert "which writes" in found["needless"]
    assert "preparation sql failed" in found["bad start"]
