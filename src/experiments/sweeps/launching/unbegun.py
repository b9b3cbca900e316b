"""What a refused run or sweep leaves behind: nothing."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments import records
from experiments.errors import ExperimentError

# What Hydra writes into a job's folder before the job can be refused.
_OF_HYDRA = (".hydra", "train.log")


@contextlib.contextmanager
def run(folder: Path) -> Iterator[None]:
    """Remove a run's folder, and those above that it leaves empty, if nothing was begun in it."""
    try:
        yield
    except ExperimentError:
        if folder.is_dir() and all(path.name in _OF_HYDRA for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(folder.parent)
        raise


@contextlib.contextmanager
def sweep(folder: Path) -> Iterator[None]:
    """Remove a sweep's folder that was not there before, if no run was begun in it."""
    there = folder.exists()
    try:
        yield
    except ExperimentError:
        if not there and not any(folder.glob(f"*/{records.FILE_NAME}")):
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(folder.parent)
        raise


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those above it as long as they are empty and below this one."""
    here = Path.cwd()
    with contextlib.suppress(OSError):  # one holds something
        while folder.absolute() != here and here in folder.absolute().parents:
            folder.rmdir()
            folder = folder.parent
