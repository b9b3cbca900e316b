"""Remove the folder of a run or sweep that was refused before anything in it started."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments import records
from experiments.errors import ExperimentError

# Files that Hydra writes into a job's folder before the job can be refused.
_HYDRA_FILES = (".hydra", "train.log")


@contextlib.contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """On an error, remove a run's folder and its empty parents if the run has not started."""
    try:
        yield
    except ExperimentError:
        if folder.is_dir() and all(path.name in _HYDRA_FILES for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(folder.parent)
        raise


@contextlib.contextmanager
def sweep_folder(folder: Path) -> Iterator[None]:
    """On an error, remove a sweep's newly created folder if none of its runs has started."""
    existed = folder.exists()
    try:
        yield
    except ExperimentError:
        if not existed and not any(folder.glob(f"*/{records.FILE_NAME}")):
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(folder.parent)
        raise


def _remove_empty(folder: Path) -> None:
    """Remove a folder and its parents as long as they are empty and below the current folder."""
    current = Path.cwd()
    with contextlib.suppress(OSError):  # rmdir fails if a folder is not empty
        while folder.absolute() != current and current in folder.absolute().parents:
            folder.rmdir()
            folder = folder.parent
