"""Code identities that are declared equal, because the change between them kept all results."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from experiments.calibration import code_lineage
from experiments.errors import ConfigError
from experiments.records import provenance
from experiments.records.provenance import equal_code

STEPS = [
    {
        "commit": "one",
        "before": {"training_code": "a", "evaluation_code": "e", "scoring_code": {"calls": "c"}},
        "after": {"training_code": "b", "evaluation_code": "e", "scoring_code": {"calls": "d"}},
    },
    {
        "commit": "two",
        "before": {"training_code": "b", "evaluation_code": "e", "scoring_code": {"calls": "d"}},
        "after": {"training_code": "c", "evaluation_code": "f", "scoring_code": {"calls": "d"}},
    },
]


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = tmp_path / "equal_code.json"
    file.write_text(json.dumps(STEPS))
    monkeypatch.setattr(equal_code, "FILE", file)
    equal_code._steps.cache_clear()
    yield file
    equal_code._steps.cache_clear()


@pytest.mark.usefixtures("declared")
def test_code_that_is_declared_equal_does_not_differ() -> None:
    oldest = {"training_code": "a", "evaluation_code": "e", "libraries": {"trl": "1"}}
    newest = {"training_code": "c", "evaluation_code": "f", "libraries": {"trl": "1"}}
    assert provenance.differences(oldest, newest) == []
    assert provenance.differences(newest, oldest) == []


@pytest.mark.usefixtures("declared")
def test_other_code_and_other_libraries_still_differ() -> None:
    newest = {"training_code": "c", "libraries": {"trl": "1"}}
    assert provenance.differences({"training_code": "x"} | newest, newest) == []
    assert provenance.differences(newest | {"training_code": "x"}, newest) == ["training_code"]
    assert provenance.differences(newest | {"libraries": {"trl": "2"}}, newest) == ["libraries"]


@pytest.mark.usefixtures("declared")
def test_metrics_are_compared_one_by_one() -> None:
    old = {"scoring_code": {"calls": "c", "mine": "m"}}
    assert provenance.differences(old, {"scoring_code": {"calls": "d", "mine": "m"}}) == []
    assert provenance.differences(old, {"scoring_code": {"calls": "d", "mine": "n"}}) == [
        "scoring_code"
    ]


def test_the_committed_table_can_be_read_and_each_entry_names_all_parts() -> None:
    for step in json.loads(equal_code.FILE.read_text(encoding="utf-8")):
        for identity in (step["before"], step["after"]):
            assert set(identity) == {*equal_code.PARTS, equal_code.METRICS}


def test_the_identity_of_a_commit_is_that_of_its_files() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    status = ["git", "-C", str(ROOT), "status", "--porcelain", "--", "src/experiments"]
    if subprocess.run(status, capture_output=True, check=True).stdout:
        pytest.skip("the package has changes that are not committed")
    assert code_lineage.identity_at("HEAD") == provenance.code_identity()


def test_a_commit_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="no_such_commit"):
        code_lineage.identity_at("no_such_commit")
