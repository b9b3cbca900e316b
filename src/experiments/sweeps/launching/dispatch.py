"""Schedule the jobs of a sweep: start as many as fit, and skip those that another worker runs.

Two commands can work on the same sweep in this way. A run that is locked by another process is
deferred until its lock is free. By then the run has either finished, and its record is reused, or
its worker has died, and the run resumes here from its checkpoint. Only locks are used for this, no
timestamps.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn, JobStatus

from experiments.errors import OutOfBudget
from experiments.runs import run_folders
from experiments.runtime import budget
from experiments.sweeps.launching import sweep_job as sweep_jobs
from experiments.sweeps.launching.sweep_job import SweepJob

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_BETWEEN_LOCKS = 1.0


class Handle(Protocol):
    """A job that was started."""

    def result(self) -> JobReturn | None:
        """Return the job's result; None while it is running."""


class Executor(Protocol):
    """Runs jobs in this process, in several processes, or on a cluster."""

    def free_slots(self) -> int:
        """Return the number of jobs that can be started now."""

    def start(self, jobs: Sequence[SweepJob]) -> Sequence[Handle]:
        """Start jobs, at most `free_slots()` of them."""

    def stop(self) -> None:
        """Interrupt the running jobs, so that their records get the status `interrupted`."""


def run_all(jobs: Sequence[SweepJob], executor: Executor) -> list[JobReturn]:
    """Run all jobs, starting them in order, and return their results in the same order.

    SIGTERM stops them as Ctrl-C does.

    No job starts after the deadline (`budget.hours`); running jobs stop by themselves.

    Raises:
        KeyboardInterrupt: the user stopped it; the running jobs have been stopped.
    """
    schedule = _Schedule(list(jobs), executor)
    with run_folders.interruptible():
        try:
            while schedule.waiting or schedule.running:
                if not schedule.step():
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        except BaseException:
            executor.stop()
            raise
    return [schedule.results[job.number] for job in jobs]


class _Schedule:
    """The state of a running sweep."""

    def __init__(self, waiting: list[SweepJob], executor: Executor) -> None:
        self.executor = executor
        self.waiting = waiting
        self.running: list[tuple[SweepJob, Handle]] = []
        self.results: dict[int, JobReturn] = {}
        self._locks: dict[int, Path] = {}
        self._last_lock_check = 0.0

    def step(self) -> bool:
        """Start jobs and collect finished ones; return whether there were any."""
        if budget.is_spent():
            self._skip_waiting()
        started = self._start()
        ended = [(job, handle.result()) for job, handle in self.running]
        self.running = [
            pair for pair, (_, result) in zip(self.running, ended, strict=True) if result is None
        ]
        for job, result in ended:
            if result is not None:
                self._store_result(job, result)
        return started or any(result is not None for _, result in ended)

    def _skip_waiting(self) -> None:
        for job in self.waiting:
            error = OutOfBudget(budget.sentence(f"job {job.number} ({job.label}) was not begun"))
            self.results[job.number] = sweep_jobs.failed(job, error)
        self.waiting = []

    def _start(self) -> bool:
        startable = [job for job in self.waiting if job.number not in self._locks]
        if not startable and self.waiting:
            startable = self._unlocked()
        batch = startable[: self.executor.free_slots()]
        if not batch:
            return False
        for job in batch:
            if job.number not in self._locks:
                log.info("\t#%d : %s", job.number, job.label)
        numbers = {job.number for job in batch}
        self.waiting = [job for job in self.waiting if job.number not in numbers]
        self.running += zip(batch, self.executor.start(batch), strict=True)
        return True

    def _unlocked(self) -> list[SweepJob]:
        """Return the deferred jobs whose lock has been released."""
        now = time.monotonic()
        if now - self._last_lock_check < SECONDS_BETWEEN_LOCKS:
            return []
        self._last_lock_check = now
        return [job for job in self.waiting if not _is_held(self._locks[job.number])]

    def _store_result(self, job: SweepJob, result: JobReturn) -> None:
        error = sweep_jobs.value_of(result) if result.status == JobStatus.FAILED else None
        if isinstance(error, OutOfBudget):
            budget.spend()
        if not isinstance(error, run_folders.InUse) or error.lock is None:
            self.results[job.number] = result
            return
        if job.number not in self._locks:
            log.info("\t#%d is being run by another worker; it is checked again later", job.number)
        self._locks[job.number] = error.lock
        self.waiting.append(job)


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
