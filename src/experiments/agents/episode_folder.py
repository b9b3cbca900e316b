"""The one folder that the servers of an episode may write, and how a task's state gets into it.

All servers keep their state in files, so a server serves one episode after another: the contents of
the folder are replaced, and the process stays. Contents can also be put aside and brought back.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from experiments.agents.sandbox import Place
from experiments.errors import DataError

SECTIONS = {"files": "filesystem", "data": "sqlite", "memory": "memory", "repo": "git"}
"""Maps each folder of an episode to the server whose state it has."""
DATABASE, GRAPH = Path("data/data.db"), Path("memory/graph.jsonl")
_INDEX = "repo/.git/index"  # has times and inodes; what is staged is also an object
_GIT = {
    **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ada@example.com" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-01-14T12:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "PATH": os.environ.get("PATH", os.defpath),
}


class EpisodeFolder:
    """A folder whose contents are those of one episode at a time."""

    def __init__(self, root: Path, sandbox: str) -> None:
        """Make an empty episode folder below `root`, which also keeps what is put aside."""
        self.place = Place(root / "episode", sandbox)
        self._aside, self._prepared = root / "aside", root / "prepared"
        for folder in (self.place.folder, self._aside, self._prepared):
            folder.mkdir(parents=True)
        self.prepare([])

    def prepare(self, steps: list[dict[str, Any]]) -> None:
        """Replace the contents by the state that a task describes.

        Raises:
            DataError: a step cannot be carried out.
        """
        digest = hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:16]
        source = self._prepared / digest
        if not source.is_dir():
            with tempfile.TemporaryDirectory(dir=self._prepared) as partial:
                _make(Path(partial), steps)
                shutil.copytree(partial, source)
        self.clear()
        shutil.copytree(source, self.place.folder, dirs_exist_ok=True)

    def clear(self) -> None:
        """Remove the contents; links are removed, not followed."""
        for path in self.place.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def put_aside(self, name: str) -> None:
        """Move the contents to a place of this name."""
        target = self._aside / name
        target.mkdir()
        for path in self.place.folder.iterdir():
            path.rename(target / path.name)

    def bring_back(self, name: str) -> None:
        """Replace the contents by those that were put aside under this name."""
        self.clear()
        source = self._aside / name
        for path in source.iterdir():
            path.rename(self.place.folder / path.name)
        source.rmdir()

    def hashes(self) -> dict[str, str]:
        """Return a hash of the files of each section, and of whatever lies beside them."""
        found = {section: hashlib.sha256() for section in (*SECTIONS, "other")}
        for path in sorted(self.place.folder.rglob("*")):
            inner = path.relative_to(self.place.folder)
            if str(inner) == _INDEX:
                continue
            digest = found.get(inner.parts[0], found["other"])
            digest.update(f"{inner}\0{_content_hash(path)}\n".encode(errors="surrogateescape"))
        return {section: digest.hexdigest() for section, digest in found.items()}


def _content_hash(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def _make(folder: Path, steps: list[dict[str, Any]]) -> None:
    for section in SECTIONS:
        (folder / section).mkdir()
    _git(folder / "repo", "init", "--quiet", "--template=", "--initial-branch=main")
    (folder / DATABASE).touch()
    makers: dict[str, Callable[[Path, Any], None]] = {
        "files": _files,
        "sql": _sql,
        "git": _commits,
        "graph": _graph,
    }
    for step in steps:
        for kind, content in step.items():
            try:
                makers[kind](folder, content)
            except (OSError, sqlite3.Error, subprocess.CalledProcessError) as error:
                raise DataError(f"preparation {kind} failed: {error}.") from error


def _files(folder: Path, files: dict[str, str]) -> None:
    _write(folder / "files", files)


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _sql(folder: Path, statements: list[str]) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def _commits(folder: Path, steps: list[dict[str, Any]]) -> None:
    """Carry out steps with `files` to write, then `message` to commit them or `branch` to make."""
    repo = folder / "repo"
    for step in steps:
        _write(repo, step.get("files", {}))
        if "message" in step:
            _git(repo, "add", "--all")
            _git(repo, "commit", "--quiet", "--allow-empty", "--message", step["message"])
        if "branch" in step:
            _git(repo, "branch", step["branch"])


def _git(repo: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=repo, env=_GIT, check=True, capture_output=True)


def _graph(folder: Path, records: list[dict[str, Any]]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (folder / GRAPH).write_text("\n".join(lines), encoding="utf-8")
