"""The settings of the launchers: `hydra.launcher.KEY=VALUE`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.errors import ConfigError

CLUSTERS = ("slurm", "local")


def check(settings: Any) -> None:
    """Check that all values are in range.

    Raises:
        ConfigError: naming each key that is not, and its allowed values.
    """
    problems = [f"hydra.launcher.{problem}" for problem in settings.problems()]
    if problems:
        raise ConfigError("; ".join(problems) + ".")


def _at_least(minimum: float, **values: float | None) -> Iterator[str]:
    for key, value in values.items():
        if value is not None and value < minimum:
            yield f"{key}={value}: must be at least {minimum:g}, or null"


@dataclass
class Joblib:
    """Several local processes."""

    n_jobs: int | None = None
    """Number of processes; null = one per visible GPU, or one per core without GPUs."""
    threads: int | None = None
    """Compute threads per process; null = OMP_NUM_THREADS if set, else cores / processes."""
    runs_per_gpu: int = 1
    """Largest number of processes that may share a GPU."""

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that is out of range."""
        yield from _at_least(
            1, n_jobs=self.n_jobs, threads=self.threads, runs_per_gpu=self.runs_per_gpu
        )


@dataclass
class Submitit:
    """One Slurm task per run, through submitit."""

    cluster: str = "slurm"
    """`slurm`, or `local`: local processes without Slurm, through the same code."""
    partition: str | None = None
    timeout_min: int = 240
    """Time limit of a task, in minutes; an unfinished run is queued again and resumes."""
    cpus_per_task: int = 1
    """CPU cores and threads per run."""
    gpus_per_node: int | None = None
    """GPUs per run: 1, or null for none."""
    mem_gb: float | None = None
    array_parallelism: int = 256
    """Largest number of tasks that run at the same time."""
    max_num_timeout: int = 3
    """How often a task that reached its time limit is queued again."""
    qos: str | None = None
    account: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    setup: list[str] = field(default_factory=list)
    """Shell commands before the run starts, such as `module load cuda`."""
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    """Any other sbatch option, by its long name."""

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that is out of range."""
        if self.cluster not in CLUSTERS:
            yield f"cluster={self.cluster}: allowed are {', '.join(CLUSTERS)}"
        yield from _at_least(
            1,
            timeout_min=self.timeout_min,
            cpus_per_task=self.cpus_per_task,
            array_parallelism=self.array_parallelism,
        )
        yield from _at_least(0, max_num_timeout=self.max_num_timeout)
        if self.gpus_per_node not in (None, 1):
            yield f"gpus_per_node={self.gpus_per_node}: a run uses one GPU; set 1 or null"
        if self.mem_gb is not None and self.mem_gb <= 0:
            yield f"mem_gb={self.mem_gb}: must be above 0, or null"


@dataclass
class Ray:
    """A Ray cluster: an existing one by its address, or a local one started for the sweep."""

    address: str | None = None
    """`auto` or `HOST:PORT` of a running cluster; null = a local one that is stopped at the end."""
    num_cpus: int | None = None
    """CPU cores of the local cluster; null = all cores that this process may use."""
    num_gpus: int | None = None
    """GPUs of the local cluster; null = those that Ray finds."""
    cpus_per_run: float = 1
    """CPU cores that a run reserves; rounded down, at least 1, also its number of threads."""
    gpus_per_run: float | None = None
    """GPUs that a run reserves; null = 1 if the cluster has any; below 1, runs share a GPU."""

    def problems(self) -> Iterator[str]:
        """Yield a message for each value that is out of range."""
        yield from _at_least(1, num_cpus=self.num_cpus)
        yield from _at_least(0, num_gpus=self.num_gpus)
        if self.cpus_per_run <= 0:
            yield f"cpus_per_run={self.cpus_per_run:g}: must be above 0"
        if self.gpus_per_run is not None and not 0 <= self.gpus_per_run <= 1:
            yield f"gpus_per_run={self.gpus_per_run:g}: a run uses at most one GPU; set 0 to 1"
        if self.address is not None and (self.num_cpus, self.num_gpus) != (None, None):
            yield (
                f"address={self.address}: num_cpus and num_gpus describe a cluster that is started "
                "here; remove them or the address"
            )
        if self.address is None and self.num_cpus and self.cpus_per_run > self.num_cpus:
            yield f"cpus_per_run={self.cpus_per_run:g}: more than num_cpus={self.num_cpus}"
