"""A record is written whole or not at all, and an old one stays readable."""

import json
from pathlib import Path

import pytest

from conftest import ROOT
from experiments import records
from experiments.errors import RecordError
from experiments.records import Record, provenance


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = Record("abc", status="finished", scores={"tuned": {"calls/exact": 0.5}})
    record.folder = tmp_path
    records.write(record)
    again = records.read(record.path)
    assert again == record


def test_a_full_disk_says_so_and_leaves_the_old_record(tmp_path: Path) -> None:
    full = Path("/dev/full")  # every write to it fails with ENOSPC, by the kernel
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    record = Record("abc", folder=tmp_path)
    records.write(record)
    before = record.path.read_bytes()
    (tmp_path / "run.json.partial").symlink_to(full)
    record.status = "finished"
    with pytest.raises(RecordError, match=r"the disk is full.*rerun the same command"):
        records.write(record)
    assert record.path.read_bytes() == before


def test_a_truncated_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"schema_version": 1, "run_id": "abc", "sta')
    with pytest.raises(RecordError, match=r"run\.json is not a valid record"):
        records.read(path)


def test_a_newer_schema_is_refused_with_its_version(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"schema_version": 99, "run_id": "abc"}))
    with pytest.raises(RecordError, match="schema version 99, but this program reads only up to 1"):
        records.read(path)


def test_the_first_schema_stays_readable() -> None:
    old = records.read(ROOT / "tests" / "fixtures" / "run_v1.json")
    assert (old.run_id, old.status) == ("0123456789ab", "finished")
    assert old.scores["tuned"]["calls/exact"] == 0.5


def test_items_come_back_and_equal_items_give_equal_bytes(tmp_path: Path) -> None:
    record = Record("abc", folder=tmp_path)
    rows = [{"id": "a", "text": "ü\ud800"}, {"id": "b", "text": ""}]
    records.write_items(record, rows)
    first = (tmp_path / records.ITEMS_NAME).read_bytes()
    assert [row["id"] for row in records.items(record)] == ["a", "b"]
    records.write_items(record, rows)
    assert (tmp_path / records.ITEMS_NAME).read_bytes() == first


def test_provenance_names_no_user_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted_secret")
    text = json.dumps(provenance.of_run("cpu"))
    assert "hf_planted_secret" not in text
    assert "git_commit" in text


def test_damaged_items_are_named(tmp_path: Path) -> None:
    record = Record("abc", folder=tmp_path)
    records.write_items(record, [{"id": str(i)} for i in range(99)])
    file = tmp_path / records.ITEMS_NAME
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"items\.jsonl\.gz is incomplete or damaged"):
        records.items(record)
