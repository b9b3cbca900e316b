"""Choose and lock a run's folder: find an earlier run by its id, or claim an unused folder."""

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from experiments import records
from experiments.config import RunConfig
from experiments.errors import RecordError
from experiments.records import Record
from experiments.runtime.progress import log


class StopRule(Protocol):
    """A rule that may stop a run early, based on its validation losses."""

    @property
    def pruner_name(self) -> str | None:
        """The pruner's name in `hydra/sweeper/pruner`; None = the run is never stopped."""

    def report(self, step: int, value: float, rows: Sequence[float]) -> bool:
        """Record the validation loss at a step, and return whether to stop the run.

        Args:
            step: optimiser steps done.
            value: validation loss, nats per trained token; smaller is better.
            rows: the same for each validation row, shape (n,).
        """

    def close(self) -> None:
        """Close connections; the rule can be used again afterwards."""


@dataclass(frozen=True)
class Job:
    """A run's output folder, its overrides, and its position in a sweep or a search."""

    folder: Path
    """The job's output folder; used unless the run already has another folder."""
    find_siblings: bool = True
    """Also look for the same run in the sibling folders of `folder`."""
    number: int | None = None
    overrides: Sequence[str] = ()
    objectives: Sequence[str] = ()
    """The scores that a search optimises; empty = the run's own objective."""
    stop_rule: StopRule | None = None
    """May stop the run early; set for a trial of a search."""
    began: float = field(default_factory=time.time)
    """Start of the run's time budget, in seconds since the epoch; shared by a sweep's runs."""


def earlier(run: RunConfig, run_id: str, job: Job) -> list[Record]:
    """Return the records of this run to reuse or resume: finished, then pruned, then unfinished.

    Of several records with the same status, that in the job's folder comes first, then the newest
    one among the siblings.

    Raises:
        RecordError: the record in the job's folder was written by a newer version of the program,
            or it is broken and the user named the folder.
    """
    own_record = _record_in_folder(job)
    candidates = [own_record] if own_record is not None and own_record.run_id == run_id else []
    if job.find_siblings:
        siblings = records.siblings(job.folder.parent, run_id)
        candidates += [
            record for record in siblings if record.folder.resolve() != job.folder.resolve()
        ]
    if run.rerun:
        # Only an unfinished rerun may be resumed; finished runs are to be repeated.
        candidates = [
            record
            for record in candidates
            if record.status not in records.SETTLED and record.provenance.get("rerun")
        ]
    settled = [
        record for status in records.SETTLED for record in candidates if record.status == status
    ]
    unfinished = (
        [record for record in candidates if record.status not in records.SETTLED]
        if run.resume
        else []
    )
    return [*settled, *unfinished]


def _record_in_folder(job: Job) -> Record | None:
    """Return the record in the job's folder; report a broken one and leave it in place."""
    if not (job.folder / records.FILE_NAME).is_file():
        return None
    try:
        return records.read(job.folder / records.FILE_NAME)
    except records.BrokenRecord as error:
        if not job.find_siblings:
            raise
        log(f"  not counted: {error}")
        return None


def free_folder(job: Job, run_id: str) -> Path:
    """Return the job's folder, or a new sibling folder if it already contains a record.

    The config that Hydra wrote into the job's folder is copied to the new folder.

    Raises:
        RecordError: the user named the folder and it contains another run.
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
            break  # the folder may exist: a process killed before it wrote a record leaves one
        attempt += 1
    if (job.folder / ".hydra").is_dir():
        shutil.copytree(job.folder / ".hydra", folder / ".hydra", dirs_exist_ok=True)
    return folder


class InUse(RecordError):
    """Another live process is working on this run."""

    lock: Path | None = None
    """The lock file of that process; it is released however the process ends."""


@contextlib.contextmanager
def claimed(job: Job, run_id: str) -> Iterator[None]:
    """Lock a run id among the job's sibling folders, so that only one process works on the run.

    The process with the lock sees all records of the run, so it reuses what another worker has
    finished. No timestamps are compared, so the clocks of two hosts may differ.

    Raises:
        InUse: another process has the lock.
    """
    if not job.find_siblings:
        yield
        return
    locks = job.folder.parent / ".locks"
    with _file_lock(locks / f"{run_id}.lock", f"run {run_id} in {job.folder.parent}"):
        yield


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process; the lock is released however the process ends.

    Raises:
        InUse: another process has locked it.
    """
    with _file_lock(folder / ".lock", str(folder)):
        yield


@contextlib.contextmanager
def _file_lock(path: Path, description: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=0)
    except Timeout:
        error = InUse(f"{description} is in use by another process: wait for it, or stop it first.")
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
def signals_ignored() -> Iterator[None]:
    """Ignore signals while a record is written: terminal and launcher may both send Ctrl-C."""
    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        handlers = [signal.signal(signal_number, signal.SIG_IGN) for signal_number in signals]
    except ValueError:  # not the main thread: the launcher handles the signals
        yield
        return
    try:
        yield
    finally:
        for signal_number, handler in zip(signals, handlers, strict=True):
            signal.signal(signal_number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the record's status becomes `interrupted`."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        previous_handler = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: the launcher handles the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
