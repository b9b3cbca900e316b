"""Hydra launchers: run the jobs of a sweep in this process, in several, on Slurm or on Ray.

Hydra finds launchers only in the namespace package `hydra_plugins`, and imports this file in every
Hydra application of the environment, so nothing heavy may be imported at the top. The launchers
are registered as `experiments_NAME`, so that they do not replace those of other plugins;
`conf/hydra/launcher/` defines their short names.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from experiments.errors import ConfigError
from experiments.runtime import distributed
from experiments.sweeps.launching import settings

if TYPE_CHECKING:
    from experiments.sweeps.launching.dispatch import Place
    from experiments.sweeps.launching.jobs import Program


class _Launcher(Launcher):
    """Base class of the four launchers; a subclass defines where the jobs run."""

    keeps_processes = False
    """Whether jobs run in this process, and therefore also in the processes that follow it."""

    def __init__(self, **given: Any) -> None:
        self.given: dict[str, Any] = {
            key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
            for key, value in given.items()
        }
        self._place: Place | None = None
        self._places = 0

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store Hydra's context and check the settings before any job is composed.

        Raises:
            ConfigError: a setting is invalid, or a distributed launch would start more processes.
        """
        self._parts = (hydra_context, task_function, config)
        if distributed.world_size() > 1 and not self.keeps_processes:
            raise ConfigError(
                f"{type(self).__name__} starts processes of its own, and this is one of "
                f"{distributed.world_size()} of a launch: leave hydra/launcher out, or start the "
                "line with python instead of accelerate launch."
            )
        self.check()

    def check(self) -> None:
        """Raise ConfigError if a setting is out of range or needs a missing package."""

    @abstractmethod
    def place(self, program: "Program", n_jobs: int) -> "Place":
        """Return the place where the jobs run."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return their results in the same order."""
        return self.launch_numbered(
            job_overrides, range(initial_job_idx, initial_job_idx + len(job_overrides))
        )

    def launch_numbered(
        self, job_overrides: Sequence[Sequence[str]], numbers: Sequence[int]
    ) -> Sequence[JobReturn]:
        """Run jobs with the given job numbers, in order, and return their results."""
        from experiments.runs import folders
        from experiments.sweeps.launching import dispatch, jobs

        program = jobs.Program(*self._parts)
        made = jobs.compose(program, job_overrides, numbers)
        if self._place is None or len(made) > self._places:
            self._place, self._places = self.place(program, len(made)), len(made)
        with folders.interruptible():
            return dispatch.run_all(made, self._place)


class OneProcessLauncher(_Launcher):
    """Runs the jobs one after another in this process."""

    keeps_processes = True

    def place(self, program: "Program", n_jobs: int) -> "Place":
        """Return this process as the place where the jobs run."""
        from experiments.sweeps.launching.here import Here

        return Here(program)


class JoblibLauncher(_Launcher):
    """Runs the jobs in several local processes."""

    def check(self) -> None:
        """Check the settings."""
        self.settings = settings.Joblib(**self.given)
        settings.check(self.settings)

    def place(self, program: "Program", n_jobs: int) -> "Place":
        """Return a place with the configured number of processes."""
        from experiments.sweeps.launching.processes import Processes

        return Processes(program, self.settings, n_jobs)


class SubmititLauncher(_Launcher):
    """Runs the jobs as tasks on a Slurm cluster."""

    def check(self) -> None:
        """Check the settings, and that submitit and Slurm are available."""
        self.settings = settings.Submitit(**self.given)
        settings.check(self.settings)
        from experiments.sweeps.launching import slurm

        slurm.check(self.settings)

    def place(self, program: "Program", n_jobs: int) -> "Place":
        """Return the Slurm cluster."""
        from experiments.sweeps.launching.slurm import Slurm

        return Slurm(program, self.settings)


class RayLauncher(_Launcher):
    """Runs the jobs as tasks on a Ray cluster."""

    def check(self) -> None:
        """Check the settings, and that Ray is installed."""
        self.settings = settings.Ray(**self.given)
        settings.check(self.settings)
        from experiments.sweeps.launching import cluster

        cluster.check()

    def place(self, program: "Program", n_jobs: int) -> "Place":
        """Return the Ray cluster."""
        from experiments.sweeps.launching.cluster import Cluster

        return Cluster(program, self.settings)


@dataclass
class _OneProcessConf:
    _target_: str = f"{__name__}.OneProcessLauncher"


@dataclass
class _JoblibConf(settings.Joblib):
    _target_: str = f"{__name__}.JoblibLauncher"


@dataclass
class _SubmititConf(settings.Submitit):
    _target_: str = f"{__name__}.SubmititLauncher"


@dataclass
class _RayConf(settings.Ray):
    _target_: str = f"{__name__}.RayLauncher"


for name, node in (
    ("one_process", _OneProcessConf),
    ("joblib", _JoblibConf),
    ("submitit", _SubmititConf),
    ("ray", _RayConf),
):
    ConfigStore.instance().store(
        group="hydra/launcher",
        name=f"experiments_{name}",
        node=node,
        provider="lora-experiments",
    )
