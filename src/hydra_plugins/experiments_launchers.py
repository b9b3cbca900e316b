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
from experiments.sweeps.launching import launcher_settings

if TYPE_CHECKING:
    from experiments.sweeps.launching.dispatch import Executor
    from experiments.sweeps.launching.sweep_job import Program, SweepJob


class _Launcher(Launcher):
    """Base class of the four launchers; a subclass creates the executor that runs the jobs."""

    keeps_processes = False
    """Whether jobs run in this process, and therefore in every process of a distributed launch."""

    def __init__(self, **launcher_config: Any) -> None:
        self.launcher_config: dict[str, Any] = {
            key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
            for key, value in launcher_config.items()
        }
        self._executor: Executor | None = None
        self._n_jobs = 0

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
                "command with python instead of accelerate launch."
            )
        self.check()

    def check(self) -> None:
        """Raise ConfigError if a setting is out of range or needs a missing package."""

    @abstractmethod
    def executor(self, program: "Program", n_jobs: int) -> "Executor":
        """Return the executor that runs the jobs."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs of a sweeper that is not ours and return their results in the same order."""
        from experiments.sweeps.launching import sweep_job

        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        return self.launch_jobs(
            sweep_job.compose(sweep_job.Program(*self._parts), job_overrides, numbers)
        )

    def launch_jobs(self, prepared: "Sequence[SweepJob]") -> Sequence[JobReturn]:
        """Run jobs that are composed and checked, in order, and return their results."""
        from experiments.sweeps.launching import dispatch, sweep_job

        program = sweep_job.Program(*self._parts)
        sweep_job.begin(program)
        if self._executor is None or len(prepared) > self._n_jobs:
            self._executor = self.executor(program, len(prepared))
            self._n_jobs = len(prepared)
        return dispatch.run_all(prepared, self._executor)


class OneProcessLauncher(_Launcher):
    """Runs the jobs one after another in this process."""

    keeps_processes = True

    def executor(self, program: "Program", n_jobs: int) -> "Executor":
        """Return an executor that runs each job in this process."""
        from experiments.sweeps.launching.one_process import OneProcessExecutor

        return OneProcessExecutor(program)


class JoblibLauncher(_Launcher):
    """Runs the jobs in several local processes."""

    def check(self) -> None:
        """Check the settings."""
        self.settings = launcher_settings.Joblib(**self.launcher_config)
        launcher_settings.check(self.settings)

    def executor(self, program: "Program", n_jobs: int) -> "Executor":
        """Return an executor with the configured number of processes."""
        from experiments.sweeps.launching.joblib import JoblibExecutor

        return JoblibExecutor(program, self.settings, n_jobs)


class SubmititLauncher(_Launcher):
    """Runs the jobs as tasks on a Slurm cluster."""

    def check(self) -> None:
        """Check the settings, and that submitit and Slurm are available."""
        self.settings = launcher_settings.Submitit(**self.launcher_config)
        launcher_settings.check(self.settings)
        from experiments.sweeps.launching import submitit

        submitit.check(self.settings)

    def executor(self, program: "Program", n_jobs: int) -> "Executor":
        """Return an executor that submits to Slurm."""
        from experiments.sweeps.launching.submitit import SubmititExecutor

        return SubmititExecutor(program, self.settings)


class RayLauncher(_Launcher):
    """Runs the jobs as tasks on a Ray cluster."""

    def check(self) -> None:
        """Check the settings, and that Ray is installed."""
        self.settings = launcher_settings.Ray(**self.launcher_config)
        launcher_settings.check(self.settings)
        from experiments.sweeps.launching import ray

        ray.check()

    def executor(self, program: "Program", n_jobs: int) -> "Executor":
        """Return an executor that submits to Ray."""
        from experiments.sweeps.launching.ray import RayExecutor

        return RayExecutor(program, self.settings)


@dataclass
class _OneProcessConf:
    _target_: str = f"{__name__}.OneProcessLauncher"


@dataclass
class _JoblibConf(launcher_settings.Joblib):
    _target_: str = f"{__name__}.JoblibLauncher"


@dataclass
class _SubmititConf(launcher_settings.Submitit):
    _target_: str = f"{__name__}.SubmititLauncher"


@dataclass
class _RayConf(launcher_settings.Ray):
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
