"""Hydra sweepers: `checked` (grids), `optuna` (searches), `tuned` (arms with tuned learning rates).

Hydra finds sweepers only in the namespace package `hydra_plugins`, and imports this file in every
Hydra application of the environment, so nothing heavy may be imported at the top.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from experiments.sweeps import kind, sweep_files
from experiments.sweeps.kind import SweepKind
from experiments.sweeps.study import specs


class _Sweeper(Sweeper):
    """Base class of the sweepers: one folder per sweep, a final table, an error if a job failed."""

    params: Any
    max_failure_rate: float | None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Choose the sweep's folder, then let Hydra instantiate the launcher.

        Raises:
            ConfigError: the sweep's file was not found, or hydra.sweeper.kind was overridden.
        """
        kind.of(config.hydra.sweeper)
        sweep_files.refuse_unfound(config, config.hydra.runtime.choices.get("sweeps"))
        folder = sweep_files.folder(config)
        if folder != Path(str(config.hydra.sweep.dir)):
            with open_dict(config):
                config.hydra.sweep.dir = str(folder)
                # Jobs are composed from these overrides; the line above sets only the sweep's node.
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={folder}")
        self._master, self._context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._sweep_dir = folder

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run the sweep and print the table of all its runs.

        Returns:
            The objectives or errors of the jobs.

        Raises:
            ConfigError: a setting of the sweep or one of its jobs is invalid.
            TrainingError: at least one job failed.
            OutOfBudget: the deadline has passed and there are runs left.
        """
        from experiments.errors import ConfigError
        from experiments.sweeps import rollback
        from experiments.sweeps.hydra import grammar

        max_rate = self.max_failure_rate
        if max_rate is not None and not 0 <= max_rate <= 1:
            raise ConfigError(
                f"hydra.sweeper.max_failure_rate={max_rate}: must be from 0 to 1, the share of the "
                "sweep's runs that may fail before it stops; null never stops."
            )
        params = [f"{key}={value}" for key, value in (self.params or {}).items()]
        overrides = grammar.parse([*params, *arguments], self._context.config_loader)
        self._failed: dict[str, str] = {}
        self._n_ended = 0
        with rollback.sweep_folder(self._sweep_dir):
            return self._run_in_folder(overrides)

    def _run_in_folder(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments.errors import TrainingError
        from experiments.runtime import budget
        from experiments.sweeps import live_progress
        from experiments.sweeps.hydra import deadline, job_batch

        job_batch.open_folder(self._sweep_dir, self._master)
        with budget.ending(deadline.ends_at(overrides, self._master)):
            try:
                with live_progress.shown(self._sweep_dir):
                    outcomes = self._run(overrides)
            finally:
                deadline.print_end(self._sweep_dir, self._summary)
            if self._failed:
                raise TrainingError(
                    f"{len(self._failed)} of {self._n_ended} jobs failed; their records in "
                    f"{self._sweep_dir} name the reason; rerun the same command to try them again."
                )
            deadline.raise_if_runs_are_left(self._sweep_dir)
        return outcomes

    @abstractmethod
    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        """Run the jobs that the overrides describe and return their values or errors."""

    def _summary(self) -> str:
        """Return the text that is printed at the end, even if the sweep fails."""
        from experiments.sweeps.hydra import deadline

        return deadline.summary(self._sweep_dir)

    def _run_batches(self, job_source: Any) -> list[Any]:
        """Run the jobs that a search or a tuning asks for until it is complete; write its results.

        Args:
            job_source: a `search.Search` or a `tuning.Tuning`.
        """
        from experiments.runtime import budget

        outcomes = []
        while not budget.is_spent() and (batch := job_source.ask()):
            for state, value, number in job_source.run(self.launcher, batch):
                self._n_ended += 1
                if state in ("failed", "oom"):
                    self._failed[str(number)] = str(value)
                outcomes.append(value)
            if self._too_many_failed(job_source.total):
                break
        job_source.write_results()
        return outcomes

    def _too_many_failed(self, total: int) -> bool:
        """Return, and print, whether more runs have failed than `max_failure_rate` allows."""
        max_rate = self.max_failure_rate
        if max_rate is None or len(self._failed) <= max_rate * total:
            return False
        print(
            f"stopped early: {len(self._failed)} of {total} runs failed, above "
            f"hydra.sweeper.max_failure_rate={max_rate}"
        )
        return True


class CheckedSweeper(_Sweeper):
    """Runs the grid of all sweep overrides; all jobs are checked before the first one starts."""

    def __init__(self, **sweeper_config: Any) -> None:
        self.max_batch_size: int | None = sweeper_config["max_batch_size"]
        self.params = sweeper_config["params"]
        self.max_failure_rate = sweeper_config["max_failure_rate"]

    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments import config
        from experiments.runtime import budget
        from experiments.sweeps import plan
        from experiments.sweeps.hydra import grid, job_batch, size

        batch = grid.cells(overrides)
        jobs = job_batch.Jobs(self._context.config_loader, self._master, self._sweep_dir)
        checked = jobs.check_all(batch)
        ids = {config.run_id(run): config.canonical(run) for _, run in checked}
        job_batch.take_from_hub([run for _, run in checked], self._sweep_dir)
        placed = [jobs.place(n, batch[n], *checked_job) for n, checked_job in enumerate(checked)]
        grid_size = size.of(self._master.hydra.sweeper, overrides).without(len(batch) - len(ids))
        plan.write(self._sweep_dir, plan.SweepPlan("grid", grid_size.runs, list(ids)))
        if budget.ends_at() is not None:
            placed = job_batch.seeds_in_turn(placed)
        outcomes: dict[int, Any] = {}
        for results in job_batch.launch(self.launcher, placed, self._batch_size()):
            for job, job_return in results:
                state, value = job_batch.ended(job_return)
                self._n_ended += 1
                if state in ("failed", "oom"):
                    self._failed[str(job.number)] = str(value)
                outcomes[job.number] = value
            if self._too_many_failed(len(placed)):
                break
        return [outcomes[number] for number in sorted(outcomes)]

    def _batch_size(self) -> int | None:
        """Return the jobs per launch: None (all) unless a batch size or a failure rate is set."""
        if self.max_batch_size is not None or self.max_failure_rate is None:
            return self.max_batch_size
        return int(self._master.hydra.launcher.get("n_jobs") or 1)


class OptunaSweeper(_Sweeper):
    """Runs a hyperparameter search with Optuna; see `experiments.sweeps.study`."""

    def __init__(self, **sweeper_config: Any) -> None:
        self.params = sweeper_config["params"]
        self.max_failure_rate = sweeper_config["max_failure_rate"]
        self.sweeper_config = sweeper_config

    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments.sweeps.hydra import search

        study_search = search.Search(
            self.sweeper_config, self._context.config_loader, self._master, self._sweep_dir
        )
        with study_search.open(overrides):
            return self._run_batches(study_search)


class TunedSweeper(_Sweeper):
    """Runs arms with the learning rate tuned for each; see `experiments.analysis.arms`."""

    def __init__(self, **sweeper_config: Any) -> None:
        self.params = sweeper_config["params"]
        self.max_failure_rate = sweeper_config["max_failure_rate"]
        self.sweeper_config = sweeper_config
        self._tuning: Any = None

    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments.sweeps.hydra import tuning

        arm_tuning = tuning.Tuning(
            self.sweeper_config, self._context.config_loader, self._master, self._sweep_dir
        )
        arm_tuning.open(overrides)
        self._tuning = arm_tuning
        return self._run_batches(arm_tuning)

    def _summary(self) -> str:
        if self._tuning is None or not self._tuning.tuned():  # no arm has finished runs yet
            return super()._summary()
        return str(self._tuning.summary())


@dataclasses.dataclass
class CheckedConfig:
    """The keys of `hydra/sweeper=checked`."""

    _target_: str = f"{__name__}.CheckedSweeper"
    kind: SweepKind = SweepKind.grid
    max_batch_size: int | None = None
    params: dict[str, Any] | None = None
    max_failure_rate: float | None = None


@dataclasses.dataclass
class OptunaConfig:
    """The keys of `hydra/sweeper=optuna`; described in docs/sweeps.md."""

    defaults: list[Any] = dataclasses.field(
        default_factory=lambda: ["_self_", {"sampler": "tpe"}, {"pruner": None}]
    )
    _target_: str = f"{__name__}.OptunaSweeper"
    kind: SweepKind = SweepKind.search
    sampler: Any = None
    pruner: Any = None
    n_trials: int | None = None
    n_jobs: int = 1
    direction: Any = None
    objectives: list[str] | None = None
    study_name: str | None = None
    storage: str | None = None
    params: dict[str, Any] | None = None
    max_failure_rate: float | None = None
    seeds_per_trial: int = 1
    trial: int | None = None
    """The trial that a job belongs to; set by the sweeper for each job."""
    search_space: Any = None
    """Not supported: use `params`."""
    custom_search_space: Any = None
    """Not supported: a space that changes between trials cannot be checked before the start."""


@dataclasses.dataclass
class TunedConfig:
    """The keys of `hydra/sweeper=tuned`; described in docs/sweeps.md."""

    _target_: str = f"{__name__}.TunedSweeper"
    kind: SweepKind = SweepKind.tuned
    params: dict[str, Any] | None = None
    max_failure_rate: float | None = None
    arms: list[list[str]] | None = None
    """Arms that form no grid, as lists of overrides; combined with every cell of `params`."""
    seeds: list[int] | None = None
    """The first seed is used to search for the learning rate, all of them to choose it; null = five
    scattered seeds."""
    rates: list[float] | None = None
    """Lowest and highest learning rate of the first grid; null = a decade around the arm's
    default."""
    furthest: int = 12
    """Largest number of grid steps, each a factor of 1.78, beyond the first grid."""
    repeats: int = 0
    """How often each arm's best run is repeated, to measure the hardware's noise floor."""
    rules: list[dict[str, Any]] | None = None
    """Additional learning rates of an arm, run with all seeds: `{arm: 1, rate: 5e-4}`, or
    `rate: ten_times` for ten times the best learning rate of arm 0."""
    score: str = "loss/nll"
    """Score on the test split by which the arms are compared."""
    margin: float | None = None
    """Largest negligible difference, in the score's unit; null = intervals only, no verdict."""


_store = ConfigStore.instance()
for _name, _node in (
    ("checked", CheckedConfig),
    ("optuna", OptunaConfig),
    ("tuned", TunedConfig),
):
    _store.store(group="hydra/sweeper", name=_name, node=_node, provider="lora-experiments")
for _group, _specs_by_name in (("sampler", specs.SAMPLERS), ("pruner", specs.PRUNERS)):
    for _name, _spec in _specs_by_name.items():
        _store.store(
            group=f"hydra/sweeper/{_group}", name=_name, node=_spec, provider="lora-experiments"
        )
