"""Where a run lives: find it again by its identity, or claim a folder that holds nothing else."""

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
from experiments.runtime.progress import say


class StopRule(Protocol):
    """What may stop a run before its last step, from the validation losses that it reports."""

    @property
    def pruner_name(self) -> str | None:
        """The pruner's name in `hydra/sweeper/pruner`; none = the run is never stopped."""

    def report(self, step: int, value: float, rows: Sequence[float]) -> bool:
        """Take the validation loss of a step; true = stop the run.

        Args:
            step: optimiser steps done.
            value: validation loss, nats per trained token; smaller is better.
            rows: the same for each validation row, shape (n,).
        """

    def close(self) -> None:
        """Release connections; the rule may be used again."""


@dataclass(frozen=True)
class Job:
    """Where Hydra wants a run and what it was asked for."""

    folder: Path
    """The job's output folder; the run uses it unless it lives elsewhere already."""
    find_siblings: bool = True
    """Look for the same run in the folders beside `folder` too."""
    number: int | None = None
    overrides: Sequence[str] = ()
    objectives: Sequence[str] = ()
    """The scores that a search wants back; none = the run's own objective."""
    stop_rule: StopRule | None = None
    """Stops the run early; set for a trial of a search."""
    began: float = field(default_factory=time.time)
    """When the run's budget began, in seconds since the epoch; a sweep has one for all its runs."""


def earlier(run: RunConfig, run_id: str, job: Job) -> Record | None:
    """Return the newest record of this run that counts: finished, then pruned, then half-written.

    Raises:
        RecordError: the folder's own record is newer than this program, or it is broken and the
            user named the folder.
    """
    own = _own(job)
    found = [own] if own is not None and own.run_id == run_id else []
    if job.find_siblings:
        beside = records.siblings(job.folder.parent, run_id)
        found += [r for r in beside if r.folder.resolve() != job.folder.resolve()]
    if run.rerun:
        # Only an unfinished rerun may be continued: finished ones are what is to be repeated.
        found = [r for r in found if r.status not in records.SETTLED and r.provenance.get("rerun")]
    settled = [r for status in records.SETTLED for r in found if r.status == status]
    others = [r for r in found if r.status not in records.SETTLED] if run.resume else []
    return next(iter([*settled, *others]), None)


def _own(job: Job) -> Record | None:
    """Return the record in the job's folder; a broken one is named and left where it is."""
    if not (job.folder / records.FILE_NAME).is_file():
        return None
    try:
        return records.read(job.folder / records.FILE_NAME)
    except records.BrokenRecord as error:
        if not job.find_siblings:
            raise
        say(f"  not counted: {error}")
        return None


def free_folder(job: Job, run_id: str) -> Path:
    """Return the job's folder, or one beside it if that holds a record already.

    Hydra has written the job's config into the job's folder; it is copied to where the run is.

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
            break  # it may exist: its maker was killed before it wrote a record
        attempt += 1
    if (job.folder / ".hydra").is_dir():
        shutil.copytree(job.folder / ".hydra", folder / ".hydra", dirs_exist_ok=True)
    return folder


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
def undisturbed() -> Iterator[None]:
    """Let a record be written to its end: Ctrl-C may come twice, from terminal and launcher."""
    asked = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(one, signal.SIG_IGN) for one in asked]
    except ValueError:  # not the main thread: the launcher owns the signals
        yield
        return
    try:
        yield
    finally:
        for one, handler in zip(asked, before, strict=True):
            signal.signal(one, handler)


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
