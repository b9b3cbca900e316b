"""The sweepers: `checked` grids, `optuna` searches, and `tuned` grids of arms at their own rates.

Hydra finds sweepers only in the namespace package `hydra_plugins`, and imports this file in every
Hydra application of the environment: nothing heavy may be imported at the top.
"""

import dataclasses
import hashlib
import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from experiments.sweeps.study import specs


class _Sweeper(Sweeper):
    """A sweep in a folder of its own, with a table at the end and an exit code that tells."""

    params: Any
    max_failure_rate: float | None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Name the sweep's folder, then let Hydra instantiate the launcher."""
        given = [str(text) for text in config.hydra.overrides.hydra]
        named = any(re.match(r"\+*hydra\.sweep\.dir=", text) for text in given)
        if not named and config.hydra.runtime.choices.get("sweeps") is None:
            folder = f"outputs/{sweep_name(config.hydra.overrides.task)}"
            with open_dict(config):
                config.hydra.sweep.dir = folder
                # Each job is composed anew from these; the line above only names our own folder.
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={folder}")
        self._master, self._context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._sweep_dir = Path(str(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run the sweep, print the table of all its runs, and fail if any run failed."""
        from experiments.errors import ConfigError
        from experiments.sweeps.hydra import space
        from experiments.sweeps.launching import unbegun

        rate = self.max_failure_rate
        if rate is not None and not 0 <= rate <= 1:
            raise ConfigError(
                f"hydra.sweeper.max_failure_rate={rate}: must be from 0 to 1, the share of the "
                "sweep's runs that may fail before it stops; null never stops."
            )
        written = [f"{key}={value}" for key, value in (self.params or {}).items()]
        overrides = space.parse([*written, *arguments], self._context.config_loader)
        self._failed: dict[str, str] = {}
        self._done = 0
        with unbegun.sweep(self._sweep_dir):
            return self._make(overrides)

    def _make(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments.errors import TrainingError
        from experiments.runtime import budget
        from experiments.sweeps import watching
        from experiments.sweeps.hydra import jobs, runtime

        jobs.open_folder(self._sweep_dir, self._master)
        with budget.ending(runtime.ends_at(overrides, self._master)):
            try:
                with watching.watching(self._sweep_dir):
                    answers = self._run(overrides)
            finally:
                runtime.print_end(self._sweep_dir, self._summary)
            if self._failed:
                raise TrainingError(
                    f"{len(self._failed)} of {self._done} jobs failed; their records in "
                    f"{self._sweep_dir} say why, and the same line tries them again."
                )
            runtime.refuse_to_be_done(self._sweep_dir)
        return answers

    @abstractmethod
    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        """Run the jobs that the overrides describe and return their answers."""

    def _summary(self) -> str:
        """Return what is printed at the end, however the sweep ends."""
        from experiments import reports
        from experiments.sweeps import plan

        return reports.summarise(self._sweep_dir, plan.not_begun(self._sweep_dir))

    def _run_asked(self, found: Any) -> list[Any]:
        """Run what a search or a tuning asks for until it asks for nothing; write what it found."""
        from experiments.runtime import budget

        answers = []
        while not budget.is_spent() and (asked := found.ask()):
            for state, value, number in found.run(self.launcher, asked):
                self._done += 1
                if state in ("failed", "oom"):
                    self._failed[str(number)] = str(value)
                answers.append(value)
            if self._too_many_failed(found.total):
                break
        found.write_results()
        return answers

    def _too_many_failed(self, total: int) -> bool:
        """Say so once more runs have failed than `max_failure_rate` allows of all."""
        rate = self.max_failure_rate
        if rate is None or len(self._failed) <= rate * total:
            return False
        print(
            f"stopped early: {len(self._failed)} of {total} runs failed, above "
            f"hydra.sweeper.max_failure_rate={rate}"
        )
        return True


class CheckedSweeper(_Sweeper):
    """The grid of all sweep overrides; all jobs are checked before the first one starts."""

    def __init__(
        self, max_batch_size: int | None, params: Any, max_failure_rate: float | None
    ) -> None:
        self.max_batch_size = max_batch_size
        self.params = params
        self.max_failure_rate = max_failure_rate

    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments import config
        from experiments.errors import ConfigError
        from experiments.records import hub
        from experiments.runtime import budget
        from experiments.sweeps import plan
        from experiments.sweeps.hydra import jobs

        for override in overrides:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise ConfigError(
                    f"{override.input_line}: a grid needs values, an interval has none; list them, "
                    "or search it with hydra/sweeper=optuna."
                )
        [batch] = BasicSweeper.split_arguments(list(overrides), None)
        made = jobs.Jobs(self._context, self._master, self._sweep_dir)
        checked = made.check_all(batch)
        ids = {config.run_id(run): config.canonical(run) for _, run in checked}
        if checked and (source := checked[0][1].resume_from) is not None:
            hub.take_sweep(source, self._sweep_dir, ids)
        ready = [made.place(n, batch[n], *one) for n, one in enumerate(checked)]
        plan.write(self._sweep_dir, plan.Plan("grid", len(ids), list(ids)))
        if budget.ends_at() is not None:
            ready = jobs.seeds_in_turn(ready)
        answers: dict[int, Any] = {}
        for results in jobs.launch(self.launcher, ready, self._at_once()):
            for job, returned in results:
                state, value = jobs.ended(returned)
                self._done += 1
                if state in ("failed", "oom"):
                    self._failed[str(job.number)] = str(value)
                answers[job.number] = value
            if self._too_many_failed(len(ready)):
                break
        return [answers[number] for number in sorted(answers)]

    def _at_once(self) -> int | None:
        """Return how many jobs a launcher gets at a time: all, unless failures may stop it."""
        if self.max_batch_size is not None or self.max_failure_rate is None:
            return self.max_batch_size
        return int(self._master.hydra.launcher.get("n_jobs") or 1)


class OptunaSweeper(_Sweeper):
    """A search; see `experiments.sweeps.study` for what a study promises."""

    def __init__(self, **given: Any) -> None:
        self.params = given["params"]
        self.max_failure_rate = given["max_failure_rate"]
        self.given = given

    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments.sweeps.hydra import search

        found = search.Search(self.given, self._context, self._master, self._sweep_dir)
        with found.open(overrides):
            return self._run_asked(found)


class TunedSweeper(_Sweeper):
    """A grid of arms, each at its own learning rate; see `experiments.analysis.arms`."""

    def __init__(self, **given: Any) -> None:
        self.params = given["params"]
        self.max_failure_rate = given["max_failure_rate"]
        self.given = given
        self._tuning: Any = None

    def _run(self, overrides: Sequence[Override]) -> list[Any]:
        from experiments.sweeps.hydra import tuning

        found = tuning.Tuning(self.given, self._context, self._master, self._sweep_dir)
        found.open(overrides)
        self._tuning = found
        return self._run_asked(found)

    def _summary(self) -> str:
        if self._tuning is None or not self._tuning.tuned():  # nothing to choose a rate from yet
            return super()._summary()
        return str(self._tuning.summary())


def sweep_name(overrides: Sequence[str]) -> str:
    """Name a sweep that has no file after its overrides, whatever their order.

    >>> sweep_name(["seed=0,1", "lora=qv"]) == sweep_name(["lora=qv", "seed=0,1"])
    True
    """
    text = "\n".join(sorted(overrides))
    return "grid_" + hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclasses.dataclass
class CheckedConfig:
    """The keys of `hydra/sweeper=checked`."""

    _target_: str = f"{__name__}.CheckedSweeper"
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
    """Set for each job: the trial that it belongs to."""
    search_space: Any = None
    """Refused: write it under `params`."""
    custom_search_space: Any = None
    """Refused: a space that depends on a trial cannot be checked before it starts."""


@dataclasses.dataclass
class TunedConfig:
    """The keys of `hydra/sweeper=tuned`; described in docs/sweeps.md."""

    _target_: str = f"{__name__}.TunedSweeper"
    params: dict[str, Any] | None = None
    max_failure_rate: float | None = None
    arms: list[list[str]] | None = None
    """Arms that are no grid, each a list of overrides; combined with every cell of `params`."""
    seeds: list[int] | None = None
    """The first one searches, all of them decide; null = five scattered ones."""
    rates: list[float] | None = None
    """Ends of the first grid; null = seven rates around the one that an arm would have."""
    furthest: int = 12
    """Grid steps, a factor of 1.78 each, that a search may go beyond its first grid."""
    repeats: int = 0
    """How often each arm's best run is made again, to measure the noise floor of the machine."""
    rules: list[dict[str, Any]] | None = None
    """Rates that a rule names, made with all seeds: `{arm: 1, rate: 5e-4}`, or `rate: ten_times`
    for ten times the best rate of arm 0."""
    score: str = "loss/nll"
    """Score of the test split that the arms are compared by."""
    margin: float | None = None
    """Difference that does not matter, in the score's unit; null = a twentieth of what the first
    arm gains over the untuned base."""


_store = ConfigStore.instance()
for _name, _node in (
    ("checked", CheckedConfig),
    ("optuna", OptunaConfig),
    ("tuned", TunedConfig),
):
    _store.store(group="hydra/sweeper", name=_name, node=_node, provider="lora-experiments")
for _group, _known in (("sampler", specs.SAMPLERS), ("pruner", specs.PRUNERS)):
    for _name, _spec in _known.items():
        _store.store(
            group=f"hydra/sweeper/{_group}", name=_name, node=_spec, provider="lora-experiments"
        )
