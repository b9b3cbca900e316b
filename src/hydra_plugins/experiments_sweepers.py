"""The checked grid sweeper: every job is validated before the first one starts.

Hydra finds sweepers only in the namespace package `hydra_plugins`, and imports this file in every
Hydra application of the environment: nothing heavy may be imported at the top.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

log = logging.getLogger(__name__)


class CheckedSweeper(BasicSweeper):
    """The grid of all sweep overrides, with a pre-flight check and a table at the end."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Name the sweep's folder, then let Hydra instantiate the launcher."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        given = [str(text) for text in config.hydra.overrides.hydra]
        named = any(re.match(r"\+*hydra\.sweep\.dir=", text) for text in given)
        if not named and config.hydra.runtime.choices.get("sweeps") is None:
            folder = f"outputs/{sweep_name(config.hydra.overrides.task)}"
            with open_dict(config):
                config.hydra.sweep.dir = folder
                # Each job is composed anew from these; the line above only names our own folder.
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={folder}")
        self._sweep_dir = Path(str(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> Any:
        """Run every job, print the table of all of them, and fail if any job failed."""
        from experiments import report

        results: list[JobReturn] = []
        launcher = self.launcher
        assert launcher is not None and self.config is not None
        self.launcher = _Collecting(launcher, results)  # type: ignore[assignment]
        try:
            super().sweep(arguments)
        finally:
            if results or any(self._sweep_dir.glob("*/run.json")):
                print(report.summarise(self._sweep_dir))
        failed = [r for r in results if r.status != JobStatus.COMPLETED]
        if failed:
            from experiments.errors import TrainingError

            raise TrainingError(
                f"{len(failed)} of {len(results)} jobs failed; their records in "
                f"{self._sweep_dir} say why, and the same line tries them again."
            )
        return [r.return_value for r in results]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose and check all jobs; report all errors at once.

        Raises:
            ConfigError: at least one job is illegal; none has been started.
        """
        from experiments import config
        from experiments.errors import ConfigError

        assert self.config is not None and self.hydra_context is not None
        problems: list[str] = []
        for number, overrides in enumerate(batch):
            try:
                job = self.hydra_context.config_loader.load_sweep_config(
                    self.config, list(overrides)
                )
                with open_dict(job):
                    del job["hydra"]
                config.load(job)
            except ConfigError as error:
                problems.append(f"job {number} ({' '.join(overrides)}): {error}")
            except Exception as error:
                problems.append(f"job {number} ({' '.join(overrides)}): {config.explain(error)}")
        if problems:
            raise ConfigError(
                f"{len(problems)} of {len(batch)} jobs are illegal, none was started:\n  "
                + "\n  ".join(dict.fromkeys(problems))
            )
        OmegaConf.resolve(self.config.hydra.sweep)


class _Collecting:
    """A launcher that keeps the results, so that a failed job cannot hide the others."""

    def __init__(self, launcher: Any, results: list[JobReturn]) -> None:
        self._launcher = launcher
        self._results = results

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        self._results.extend(self._launcher.launch(job_overrides, initial_job_idx=initial_job_idx))
        return []  # BasicSweeper would raise at the first failed one


def sweep_name(overrides: Sequence[str]) -> str:
    """Name a sweep that has no file after its overrides, whatever their order.

    >>> sweep_name(["seed=0,1", "lora=qv"]) == sweep_name(["lora=qv", "seed=0,1"])
    True
    """
    text = "\n".join(sorted(overrides))
    return "grid_" + hashlib.sha256(text.encode()).hexdigest()[:10]


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="checked",
    node={"_target_": f"{__name__}.CheckedSweeper", "max_batch_size": None, "params": None},
    provider="lora-experiments",
)
