"""The submitit launcher: a Slurm job array with one task per run.

A task that reaches its time limit is queued again and resumes. If a task has no result yet, its
state is read with `squeue`, because `sacct`, which submitit uses, works only on clusters with
accounting.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from experiments.errors import ConfigError
from experiments.sweeps.launching import sweep_job
from experiments.sweeps.launching.launcher_settings import Submitit
from experiments.sweeps.launching.sweep_job import PackedJob, Program, SweepJob

FOLDER = ".submitit"
_SECONDS_BETWEEN_QUEUES = 5.0
# A task's result may appear on a shared file system some time after the task has left the queue.
_SECONDS_FOR_THE_FILE = 10.0
_SECONDS_TO_STOP = 30.0
_ALIVE = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED"}
_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")  # the last line of a traceback
_LAUNCHER_ONLY = ("cluster", "max_num_timeout", "additional_parameters")


@dataclass(frozen=True)
class Requeued:
    """A packed job that submitit queues again, to resume, when its task reaches the time limit."""

    packed: PackedJob

    def __call__(self) -> JobReturn:
        """Run the job."""
        return self.packed()

    def checkpoint(self) -> Any:
        """Return the submission to queue again; called by submitit at the time limit."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _SlurmTask:
    """A submitted Slurm task: queued, running or ended."""

    def __init__(self, job: SweepJob, task: Any, *, local: bool) -> None:
        self._job = job
        self.task = task
        self._local = local
        self._next_query = time.monotonic() + _SECONDS_BETWEEN_QUEUES
        self._left_queue_at: float | None = None

    @property
    def has_result(self) -> bool:
        return bool(self.task.paths.result_pickle.is_file())

    def result(self) -> JobReturn | None:
        if self.has_result:
            return self._read()
        now = time.monotonic()
        if now < self._next_query:
            return None
        self._next_query = now + _SECONDS_BETWEEN_QUEUES
        if not self.left_queue():
            self._left_queue_at = None
        elif self._left_queue_at is None:
            self._left_queue_at = now
        elif now - self._left_queue_at >= _SECONDS_FOR_THE_FILE:
            return sweep_job.died(self._job, f"ended (see {self.task.paths.stderr})")
        return None

    def _read(self) -> JobReturn:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            value = self.task.result()
        except (FailedJobError, UncompletedJobError) as error:
            reason = _reason(str(error))
            return sweep_job.died(
                self._job, f"ended with {reason!r} (see {self.task.paths.stderr})"
            )
        assert isinstance(value, JobReturn)
        return value

    def left_queue(self) -> bool:
        """Return whether the task is neither queued nor running."""
        if self._local:  # a local task can check its process directly
            return bool(self.task.done())
        command = [
            "squeue",
            "--noheader",
            "--states=all",
            "--format=%T",
            f"--jobs={self.task.job_id}",
        ]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode != 0:
            return "Invalid job id" in completed.stderr
        return not _ALIVE & set(completed.stdout.split())


class SubmititExecutor:
    """Executor of the submitit launcher: one task of a Slurm job array per job."""

    def __init__(self, program: Program, settings: Submitit) -> None:
        self._program = program
        self._settings = settings
        self._tasks: list[_SlurmTask] = []
        folder = (program.folder / FOLDER).absolute()
        self._executor = _executor(folder, settings)

    def free_slots(self) -> int:
        """Return a number larger than any sweep, because Slurm queues the jobs itself."""
        return 1 << 30

    def start(self, jobs: Sequence[SweepJob]) -> Sequence[_SlurmTask]:
        """Submit the jobs as one job array."""
        threads = self._settings.cpus_per_task
        packed = [Requeued(sweep_job.pack(self._program, job, threads)) for job in jobs]
        with self._executor.batch():
            submitted = [self._executor.submit(packed_job) for packed_job in packed]
        local = self._settings.cluster == "local"
        tasks = [_SlurmTask(j, task, local=local) for j, task in zip(jobs, submitted, strict=True)]
        self._tasks += tasks
        return tasks

    def stop(self) -> None:
        """Cancel the tasks and wait up to 30 s until they have written their records."""
        for task in self._tasks:
            if not task.has_result:
                task.task.cancel()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while any(not t.has_result and not t.left_queue() for t in self._tasks) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.5)


def _reason(message: str) -> str:
    """Return the error of a task from submitit's message, which has more lines after its trace."""
    lines = message.strip().splitlines()
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])


def check(settings: Submitit) -> None:
    """Check that submitit and, unless `cluster=local`, Slurm are available on this host.

    Raises:
        ConfigError: submitit is not installed, or there is no `sbatch`.
    """
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "submitit":
            raise
        raise ConfigError(
            "hydra/launcher=submitit needs the package submitit, which is not installed: run "
            "pip install -e '.[slurm]'."
        ) from None
    if settings.cluster == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "hydra/launcher=submitit: there is no `sbatch` on this machine; run the command on a "
            "login node of the cluster, or use hydra/launcher=joblib."
        )


def _executor(folder: Path, settings: Submitit) -> Any:
    import submitit

    local = settings.cluster == "local"
    executor = submitit.AutoExecutor(
        folder / "%j",
        cluster=settings.cluster,
        **({} if local else {"slurm_max_num_timeout": settings.max_num_timeout}),
    )
    options = {
        f.name: getattr(settings, f.name) for f in fields(Submitit) if f.name not in _LAUNCHER_ONLY
    }
    shared = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb")
    parameters = {
        (key if key in shared else f"slurm_{key}"): value
        for key, value in options.items()
        if value not in (None, [])
    }
    if settings.additional_parameters:
        parameters["slurm_additional_parameters"] = settings.additional_parameters
    if local:
        parameters = {k: v for k, v in parameters.items() if k in shared}
    executor.update_parameters(name="lora-experiments", **parameters)
    return executor
