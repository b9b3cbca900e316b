"""Find and remove files a sweep no longer needs: checkpoints of settled runs and partial files.

Adapters, records, items and configs are never removed, nor are the checkpoints of unsettled runs,
which resume from them.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import records
from experiments.errors import RecordError
from experiments.records import Record
from experiments.sweeps import status

_PARTIAL = "*.partial"


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be removed."""

    path: Path
    size_bytes: int
    reason: str


def leftovers(sweep_dir: Path) -> tuple[list[Leftover], list[str]]:
    """Find the files that can be removed.

    Returns:
        The removable files and folders, and one sentence for each similar one that must stay.

    Raises:
        RecordError: the folder contains no run.
    """
    runs = records.read_all(sweep_dir)
    if not runs:
        raise RecordError(
            f"{sweep_dir} contains no readable run: name the folder of a sweep or of a run, "
            "for example outputs/NAME."
        )
    removable: list[Leftover] = []
    retained: list[str] = []
    for record in runs:
        if status.is_locked(record):
            retained.append(f"{record.folder}: a process is using it")
            continue
        removable += [
            _leftover(p, "partially written") for p in sorted(record.folder.rglob(_PARTIAL))
        ]
        checkpoints = sorted(record.folder.glob("checkpoints*"))
        if checkpoints and (reason := _reason_to_keep(record)):
            retained.append(f"{record.folder}: its checkpoints are kept, {reason}")
            continue
        removable += [_leftover(path, f"the run is {record.status}") for path in checkpoints]
    return removable, retained


def _reason_to_keep(record: Record) -> str | None:
    """Return the reason to keep a run's checkpoints; None if they can be removed."""
    if record.status not in records.SETTLED:
        return f"because the run is {record.status} and resumes from them"
    retention = _retention(record.folder / ".hydra" / "config.yaml")
    return (
        f"because trainer.keep={retention} asks for them" if retention in ("last", "all") else None
    )


def _retention(file: Path) -> str | None:
    try:
        return str(OmegaConf.select(OmegaConf.load(file), "trainer.keep"))
    except (OSError, OmegaConfBaseException):
        return None


def _leftover(path: Path, reason: str) -> Leftover:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return Leftover(path, sum(f.stat().st_size for f in files), reason)


def remove(removable: list[Leftover]) -> Iterator[Path]:
    """Remove the files and folders, and yield the path of each one that was removed.

    Raises:
        RecordError: a file or folder cannot be removed.
    """
    for leftover in removable:
        try:
            if leftover.path.is_dir():
                shutil.rmtree(leftover.path)
            else:
                leftover.path.unlink(missing_ok=True)
        except OSError as error:
            raise RecordError(
                f"{leftover.path} cannot be removed ({error.strerror}): make its folder writable."
            ) from error
        yield leftover.path


def sweep_folders(outputs: Path) -> list[Path]:
    """Return the folders below outputs/ that contain runs, without the committed reports.

    A sweep whose name has a slash is in a nested folder. Folders inside a run are not searched.
    """
    sweeps = set()
    for path, folders, files in os.walk(outputs):
        if records.FILE_NAME in files:
            sweeps.add(Path(path).parent)
            folders.clear()
        elif Path(path) == outputs and "reports" in folders:
            folders.remove("reports")
    return sorted(sweeps - {outputs.parent})
