"""Run jobs in several local processes; each has its threads and GPU, and runs one job at a time.

Every worker has a separate process pool, so that when a process dies, its job is known and no
other job is lost.
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
from experiments.sweeps.launching import sweep_job
from experiments.sweeps.launching.launcher_settings import Joblib
from experiments.sweeps.launching.sweep_job import Program, SweepJob

# Time for a run to end its step and write its record after SIGTERM.
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
            return sweep_job.died(self.job, f"died ({str(error).splitlines()[0].rstrip('.')})")
        if isinstance(error, KeyboardInterrupt):  # only this worker process was interrupted
            return sweep_job.died(self.job, "was interrupted")
        return self.future.result()


class _Worker:
    """One process with its environment variables; it is started again if it has died."""

    def __init__(self, gpu: str, threads: int) -> None:
        self._environment = {placement.THREADS: str(threads)}
        if gpu:
            self._environment[placement.GPUS] = gpu
        self._pool: Any = None
        self._running: _Running | None = None

    @property
    def free(self) -> bool:
        return self._running is None or self._running.future.done()

    def start(self, packed: sweep_job.PackedJob) -> _Running:
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
        self._running = _Running(packed.job, self._pool.submit(packed))
        return self._running

    def interrupt(self) -> None:
        if self._pool is not None and not self.free:
            for pid in list(self._pool._processes):
                os.kill(pid, signal.SIGTERM)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
        self._pool = self._running = None


class JoblibExecutor:
    """Executor of the joblib launcher: several local processes."""

    def __init__(self, program: Program, settings: Joblib, n_jobs: int) -> None:
        """Assign GPUs and threads to the workers.

        Args:
            program: the sweep.
            settings: the number of processes and threads.
            n_jobs: the number of jobs; no more processes than this are started.

        Raises:
            ConfigError: more processes are requested than are allowed on the GPUs.
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

    def free_slots(self) -> int:
        """Return the number of free workers."""
        return sum(worker.free for worker in self._workers)

    def start(self, jobs: Sequence[SweepJob]) -> Sequence[_Running]:
        """Start each job in a free worker."""
        free = (worker for worker in self._workers if worker.free)
        packed = [sweep_job.pack(self._program, job, self._threads) for job in jobs]
        return [worker.start(p) for worker, p in zip(free, packed, strict=False)]

    def stop(self) -> None:
        """Interrupt the runs, wait up to 30 s for their records, and end the processes."""
        for worker in self._workers:
            worker.interrupt()
        deadline = time.monotonic() + SECONDS_TO_STOP
        while not all(worker.free for worker in self._workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.close()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()


def _prepare(parent: int) -> None:
    """Ignore Ctrl-C, since the parent sends SIGTERM instead; and exit when the parent exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_FOR_A_RECORD)
        os._exit(1)  # a normal exit would wait forever for the next job from the queue

    threading.Thread(target=watch, daemon=True).start()
