"""Whether a checkpoint or a database is all there.

A process that was killed, a drive that was not yet synchronised or an upload that was cut off
leaves files that are too short; each form that a checkpoint consists of can be told whole from its
first or last bytes.
"""

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

_STATE = "trainer_state.json"
_LENGTH_BYTES = 8


def checkpoint_problem(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint; None if it can be gone on from."""
    names = {path.name for path in folder.iterdir()}
    for wanted in (_STATE, "optimizer.pt", "scheduler.pt"):
        if wanted not in names:
            return f"no {wanted}"
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
    """Return what is wrong with a SQLite file; None if it is whole."""
    try:
        with closing(sqlite3.connect(path)) as database:
            [(said,)] = database.execute("pragma quick_check(1)").fetchall()
    except (sqlite3.DatabaseError, ValueError) as error:
        return str(error)
    return None if said == "ok" else str(said)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _is_safetensors(path: Path) -> bool:
    """Compare the size with what the header says: its length, itself, then the tensors' bytes.

    Source: the format's description, github.com/huggingface/safetensors (README, "Format").
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > path.stat().st_size:
            return False
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return False
    ends = [int(t["data_offsets"][1]) for name, t in header.items() if name != "__metadata__"]
    return path.stat().st_size == _LENGTH_BYTES + length + max(ends, default=0)
