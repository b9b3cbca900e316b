"""The Ray launcher: one task per run, on an existing cluster or one started for the sweep."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn

from experiments.errors import ConfigError
from experiments.runtime import placement
from experiments.sweeps.launching import sweep_job
from experiments.sweeps.launching.launcher_settings import Ray
from experiments.sweeps.launching.sweep_job import Program, SweepJob

_SECONDS_TO_STOP = 30.0
# The smallest object store that Ray accepts is 75 MiB; results are summaries of a few kilobytes.
_STORE_BYTES = 100 << 20
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry without consent
    "RAY_DEDUP_LOGS": "0",  # two runs may print the same line
    # Hide the GPUs from a task that reserves none; Ray will stop doing this by default.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


@dataclass
class _RayTask:
    job: SweepJob
    reference: Any

    def result(self) -> JobReturn | None:
        import ray

        done, _ = ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            value = ray.get(self.reference)
        except ray.exceptions.RayError as error:
            return sweep_job.died(self.job, f"died ({str(error).splitlines()[0].rstrip('.')})")
        assert isinstance(value, JobReturn)
        return value


class RayExecutor:
    """Executor of the Ray launcher: one task of a Ray cluster per job."""

    def __init__(self, program: Program, settings: Ray) -> None:
        for name, value in _ENVIRONMENT.items():  # must be set before Ray is imported
            os.environ.setdefault(name, value)
        import ray

        self._program = program
        self._settings = settings
        self._tasks: list[_RayTask] = []
        if not ray.is_initialized():
            _connect(settings)
        self._threads = max(1, int(settings.cpus_per_run))
        gpus = settings.gpus_per_run
        self._run = ray.remote(
            num_cpus=settings.cpus_per_run,
            num_gpus=min(1, ray.cluster_resources().get("GPU", 0)) if gpus is None else gpus,
            max_retries=0,
            runtime_env={"env_vars": {placement.THREADS: str(self._threads)}},
        )(_run)

    def free_slots(self) -> int:
        """Return a number larger than any sweep, because the cluster queues the jobs itself."""
        return 1 << 30

    def start(self, jobs: Sequence[SweepJob]) -> Sequence[_RayTask]:
        """Submit the jobs."""
        import ray

        tasks = []
        for job in jobs:
            packed = sweep_job.pack(self._program, job, self._threads)
            tasks.append(_RayTask(job, self._run.remote(ray.cloudpickle.dumps(packed))))
        self._tasks += tasks
        return tasks

    def stop(self) -> None:
        """Interrupt the runs and wait up to 30 s until they have written their records."""
        import ray

        for task in self._tasks:
            ray.cancel(task.reference, force=False)
        references = [task.reference for task in self._tasks]
        ray.wait(references, num_returns=len(references), timeout=_SECONDS_TO_STOP)


def check() -> None:
    """Check that Ray is installed.

    Raises:
        ConfigError: Ray is not installed.
    """
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise ConfigError(
            "hydra/launcher=ray needs the package ray, which is not installed: run "
            "pip install -e '.[ray]'."
        )


def _connect(settings: Ray) -> None:
    import ray

    if settings.address is not None:
        try:
            ray.init(address=settings.address, log_to_driver=True)
        except ConnectionError as error:
            raise ConfigError(
                f"hydra.launcher.address={settings.address}: no Ray cluster answers there "
                f"({str(error).splitlines()[0]}); start one with `ray start --head`, or remove the "
                "address to have one started here."
            ) from error
        return
    ray.init(
        num_cpus=settings.num_cpus or placement.cores(),
        num_gpus=settings.num_gpus,
        object_store_memory=_STORE_BYTES,
        include_dashboard=False,
        logging_level="warning",
        configure_logging=False,
    )


def _run(pickled: bytes) -> JobReturn:
    """Run a pickled job in a worker; workers are reused, so base model and rows stay cached."""
    import ray

    packed = ray.cloudpickle.loads(pickled)
    result = packed()
    assert isinstance(result, JobReturn)
    return result
