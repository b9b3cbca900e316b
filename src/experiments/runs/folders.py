"""Where a run lives: find it again by its identity, or claim a folder that holds nothing else."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import records
from experiments.config import RunConfig
from experiments.errors import RecordError
from experiments.records import Record


@dataclass(frozen=True)
class Job:
    """Where Hydra wants a run and what it was asked for."""

    folder: Path
    """The job's output folder; the run uses it unless it lives elsewhere already."""
    find_siblings: bool = True
    """Look for the same run in the folders beside `folder` too."""
    number: int | None = None
    overrides: Sequence[str] = ()


def earlier(run: RunConfig, run_id: str, job: Job) -> Record | None:
    """Return the newest record of this run that counts: finished first, then half-written."""
    found = []
    if (job.folder / records.FILE_NAME).is_file():
        own = records.read(job.folder / records.FILE_NAME)
        found = [own] if own.run_id == run_id else []
    if job.find_siblings:
        others = records.siblings(job.folder.parent, run_id)
        found += [r for r in others if r.folder.resolve() != job.folder.resolve()]
    if run.rerun:
        # Only an unfinished rerun may be continued: finished ones are what is to be repeated.
        found = [r for r in found if r.status != "finished" and r.provenance.get("rerun")]
    finished = [r for r in found if r.status == "finished"]
    unfinished = [r for r in found if r.status != "finished"] if run.resume else []
    return next(iter([*finished, *unfinished]), None)


def free_folder(job: Job, run_id: str) -> Path:
    """Return the job's folder, or one beside it if that holds a record already.

    Raises:
        RecordError: the folder was named by the user and holds another run.
    """
    if not (job.folder / records.FILE_NAME).is_file():
        return job.folder
    if not job.find_siblings and records.read(job.folder / records.FILE_NAME).run_id != run_id:
        raise RecordError(
            f"{job.folder} holds the record of another run: choose another hydra.run.dir."
        )
    attempt = 2
    while True:
        folder = job.folder.with_name(f"{job.folder.name}_{attempt}")
        if not (folder / records.FILE_NAME).is_file():
            return folder  # it may exist: its maker was killed before it wrote a record
        attempt += 1


class InUse(RecordError):
    """Another live process works on this run."""

    lock: Path | None = None
    """The file it holds; a process that ends, however it ends, lets go of it."""


@contextlib.contextmanager
def claimed(job: Job, run_id: str) -> Iterator[None]:
    """Make this process the only one on a run among the folders beside the job's.

    Whoever holds the claim knows all of the run's records: what another worker has finished is
    found, not made again. Only the lock decides, so the clocks of two machines may differ.

    Raises:
        InUse: another process has the claim.
    """
    if not job.find_siblings:
        yield
        return
    locks = job.folder.parent / ".locks"
    with _held(locks / f"{run_id}.lock", f"run {run_id} in {job.folder.parent}"):
        yield


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock goes with the process, however it ends.

    Raises:
        InUse: another process holds it.
    """
    with _held(folder / ".lock", str(folder)):
        yield


@contextlib.contextmanager
def _held(path: Path, what: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
    except Timeout:
        error = InUse(
            f"{what} is being worked on by another process: wait for it, or stop it first."
        )
        error.lock = path.absolute()
        raise error from None
    except OSError as error:
        raise RecordError(
            f"{path.parent} cannot be written ({error.strerror}): choose another with "
            "hydra.run.dir=DIR, or hydra.sweep.dir=DIR with -m."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treat a polite kill (SIGTERM) like Ctrl-C, so that the record says so."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: the launcher owns the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
