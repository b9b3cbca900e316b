"""Several processes on this machine: one job each at a time, each with its threads and its GPU.

Every worker has a pool of its own, so that when a process dies it is known whose job it had, and
no other job is lost with it.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn

from experiments.runtime import placement
from experiments.sweeps.launching import jobs
from experiments.sweeps.launching.jobs import Program, SweepJob
from experiments.sweeps.launching.settings import Joblib

# A run that is asked to stop ends its step and writes its record.
SECONDS_TO_STOP = 30.0
SECONDS_FOR_A_RECORD = 10.0


@dataclass
class _Running:
    job: SweepJob
    future: "Future[JobReturn]"

    def result(self) -> JobReturn | None:
        if not self.future.done():
            return None
        error = self.future.exception()
        if isinstance(error, BrokenProcessPool):
            return jobs.died(self.job, f"died ({str(error).splitlines()[0].rstrip('.')})")
        if isinstance(error, KeyboardInterrupt):  # this process alone was asked to stop
            return jobs.died(self.job, "was interrupted")
        return self.future.result()


class _Worker:
    """One process that is started with its environment and again if it has died."""

    def __init__(self, gpu: str, threads: int) -> None:
        self._environment = {placement.THREADS: str(threads)}
        if gpu:
            self._environment[placement.GPUS] = gpu
        self._pool: Any = None
        self._running: _Running | None = None

    @property
    def free(self) -> bool:
        return self._running is None or self._running.future.done()

    def start(self, parcel: jobs.Parcel) -> _Running:
        from joblib.externals.loky import ProcessPoolExecutor

        if self._running is not None and self._running.future.exception() is not None:
            self.close()
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                env=self._environment,
                initializer=_prepare,
                initargs=(os.getpid(),),
            )
        self._running = _Running(parcel.job, self._pool.submit(parcel))
        return self._running

    def interrupt(self) -> None:
        if self._pool is not None and not self.free:
            for pid in list(self._pool._processes):
                os.kill(pid, signal.SIGTERM)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
        self._pool = self._running = None


class Processes:
    """The place of the joblib launcher."""

    def __init__(self, program: Program, settings: Joblib, n_jobs: int) -> None:
        """Settle who gets what.

        Args:
            program: the sweep.
            settings: how many processes and threads.
            n_jobs: how many jobs there are; no more processes are started.

        Raises:
            ConfigError: more processes are wanted than the GPUs have places.
        """
        cores = placement.cores()
        gpus = placement.assign(
            placement.visible_gpus(), settings.n_jobs, settings.runs_per_gpu, cores
        )[:n_jobs]
        self._threads = placement.threads_each(
            len(gpus),
            wanted=settings.threads,
            given=os.environ.get(placement.THREADS),
            cores=cores,
        )
        self._program = program
        self._workers = [_Worker(gpu, self._threads) for gpu in gpus]

    def room(self) -> int:
        """Return how many workers are free."""
        return sum(worker.free for worker in self._workers)

    def start(self, chosen: Sequence[SweepJob]) -> Sequence[_Running]:
        """Hand each job to a free worker."""
        free = (worker for worker in self._workers if worker.free)
        parcels = [jobs.pack(self._program, job, self._threads) for job in chosen]
        return [worker.start(p) for worker, p in zip(free, parcels, strict=False)]

    def stop(self) -> None:
        """Interrupt the runs, wait for their records, end the processes."""
        for worker in self._workers:
            worker.interrupt()
        last = time.monotonic() + SECONDS_TO_STOP
        while not all(worker.free for worker in self._workers) and time.monotonic() < last:
            time.sleep(0.05)
        self.close()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()


def _prepare(parent: int) -> None:
    """Leave Ctrl-C to the parent, which asks once and politely; and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_FOR_A_RECORD)
        os._exit(1)  # the queue of jobs has no other end, so waiting for the next one never ends

    threading.Thread(target=watch, daemon=True).start()
