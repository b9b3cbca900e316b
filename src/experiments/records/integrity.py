"""Check that checkpoints and databases are complete.

A killed process, a drive that is not synchronised yet or an interrupted upload leaves truncated
files. Truncation shows in the first or last bytes of each file format in a checkpoint.
"""

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

_STATE = "trainer_state.json"


def checkpoint_problem(folder: Path) -> str | None:
    """Return the problem with a checkpoint, or None if training can resume from it."""
    names = {path.name for path in folder.iterdir()}
    for required in (_STATE, "optimizer.pt", "scheduler.pt"):
        if required not in names:
            return f"no {required}"
    if not any(name.endswith(".safetensors") for name in names):
        return "no *.safetensors"
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json" and not _is_json(path):
            return f"{path.name} is cut off"
        if path.suffix == ".safetensors" and not _is_safetensors(path):
            return f"{path.name} is cut off"
        if path.suffix in (".pt", ".pth") and not zipfile.is_zipfile(path):
            return f"{path.name} is cut off"
    return None


def database_problem(path: Path) -> str | None:
    """Return the problem with a SQLite file, or None if it is intact."""
    try:
        with closing(sqlite3.connect(path)) as database:
            [(report,)] = database.execute("pragma quick_check(1)").fetchall()
    except (sqlite3.DatabaseError, ValueError) as error:
        return str(error)
    return None if report == "ok" else str(report)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _is_safetensors(path: Path) -> bool:
    """Return whether the file has the size that its header specifies."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except (SafetensorError, OSError):
        return False
