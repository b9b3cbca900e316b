"""State of an episode: made from a task's preparation, put aside, and brought back."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from experiments.agents.episode_folder import EpisodeFolder
from experiments.errors import DataError

STEPS: list[dict[str, Any]] = [
    {"files": {"a/b.txt": "one"}},
    {"sql": ["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (3)"]},
    {"git": [{"files": {"x.md": "x"}, "message": "First"}, {"branch": "work"}]},
    {"graph": [{"type": "entity", "name": "Ada", "entityType": "person", "observations": []}]},
]


def test_equal_preparations_are_equal_in_other_folders(tmp_path: Path) -> None:
    first, second = (EpisodeFolder(tmp_path / name, "none") for name in "ab")
    empty = first.hashes()
    for folder in (first, second):
        folder.prepare(STEPS)
    assert first.hashes()["repo"] == second.hashes()["repo"]
    changed = {section for section, digest in first.hashes().items() if digest != empty[section]}
    assert changed == {"files", "data", "repo", "memory"}
    with sqlite3.connect(first.place.folder / "data/data.db") as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(3,)]
    connection.close()


def test_what_is_put_aside_comes_back_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path / "root", "none")
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    (folder.place.folder / "files/link").symlink_to(outside)
    before = folder.hashes()
    folder.put_aside("one")
    folder.prepare(STEPS)
    folder.bring_back("one")
    assert folder.hashes() == before
    folder.clear()
    assert outside.read_text() == "kept"
    assert not list(folder.place.folder.iterdir())


def test_a_preparation_that_fails_is_an_error(tmp_path: Path) -> None:
    folder = EpisodeFolder(tmp_path / "root", "none")
    with pytest.raises(DataError, match="preparation sql failed: near"):
        folder.prepare([{"sql": ["CREAT TABLE t"]}])
