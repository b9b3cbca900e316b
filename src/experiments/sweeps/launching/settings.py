"""What can be set of a launcher: `hydra.launcher.KEY=VALUE`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.errors import ConfigError

CLUSTERS = ("slurm", "local")


def check(settings: Any) -> None:
    """Refuse values out of range, all in one message.

    Raises:
        ConfigError: naming each key and what is allowed.
    """
    found = [f"hydra.launcher.{problem}" for problem in settings.problems()]
    if found:
        raise ConfigError("; ".join(found) + ".")


def _at_least(least: float, **given: float | None) -> Iterator[str]:
    for key, value in given.items():
        if value is not None and value < least:
            yield f"{key}={value}: must be at least {least:g}, or null"


@dataclass
class Joblib:
    """Several processes on this machine."""

    n_jobs: int | None = None
    """Processes; null = one a visible GPU, or one a core where there is none."""
    threads: int | None = None
    """Threads each computes with; null = OMP_NUM_THREADS if set, else cores / processes."""
    runs_per_gpu: int = 1
    """How many processes may share a GPU."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from _at_least(
            1, n_jobs=self.n_jobs, threads=self.threads, runs_per_gpu=self.runs_per_gpu
        )


@dataclass
class Submitit:
    """One Slurm task a run, through submitit."""

    cluster: str = "slurm"
    """`slurm`, or `local`: the same machinery on this machine without Slurm."""
    partition: str | None = None
    timeout_min: int = 240
    """Longest time of a task, in minutes; what is not done then is queued again and goes on."""
    cpus_per_task: int = 1
    """Cores and threads of a run."""
    gpus_per_node: int | None = None
    """GPUs of a run: 1, or null for none."""
    mem_gb: float | None = None
    array_parallelism: int = 256
    """How many tasks may run at once."""
    max_num_timeout: int = 3
    """How often a task that ran out of time is queued again."""
    qos: str | None = None
    account: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    setup: list[str] = field(default_factory=list)
    """Shell lines before the run starts, such as `module load cuda`."""
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    """Any other sbatch option, by its long name."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
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
    """A Ray cluster: a running one by its address, or one started on this machine."""

    address: str | None = None
    """`auto` or `HOST:PORT` of a running cluster; null starts one here and stops it at the end."""
    num_cpus: int | None = None
    """Cores of the cluster started here; null = this machine's."""
    num_gpus: int | None = None
    """GPUs of the cluster started here; null = those Ray finds."""
    cpus_per_run: float = 1
    """Cores a run reserves; whole ones are also its threads."""
    gpus_per_run: float | None = None
    """GPUs a run reserves: null = 1 if the cluster has any, a part of one lets runs share it."""

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
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
