"""Connect Hydra to a study: turn a trial's parameters into jobs, and report their results."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from experiments import records
from experiments.analysis import arms, statistics
from experiments.errors import ConfigError, ExperimentError
from experiments.records import hub
from experiments.runs import objectives
from experiments.runtime.progress import log
from experiments.sweeps import plan
from experiments.sweeps.hydra import grammar, job_batch, search_validation, size
from experiments.sweeps.hydra.size import Size
from experiments.sweeps.kind import SweepKind
from experiments.sweeps.launching.sweep_job import SweepJob
from experiments.sweeps.study import Settings, Study, StudyTrial, specs
from experiments.sweeps.study import space as spaces
from experiments.sweeps.study.space import Space

RESULTS = "optimization_results.yaml"
_ILLEGAL_IN_A_ROW = 100

Result = tuple[job_batch.Ended, Any, int]
"""How a job ended, its value or error, its number."""


@dataclasses.dataclass
class SearchTrial:
    """A trial with its jobs, one per seed, or with the error because of which it cannot run."""

    study_trial: StudyTrial
    jobs: list[SweepJob] = dataclasses.field(default_factory=list)
    error: ExperimentError | None = None


class Search:
    """One execution of a search; a later one with the same study resumes it."""

    def __init__(
        self, sweeper: Mapping[str, Any], loader: ConfigLoader, master: DictConfig, sweep_dir: Path
    ) -> None:
        self._sweeper = sweeper
        self._sweep_dir = sweep_dir
        self._jobs = job_batch.Jobs(loader, master, sweep_dir)
        self._seeds = int(sweeper["seeds_per_trial"])
        self._illegal_in_a_row = 0
        self.size = Size(SweepKind.search, 0)
        """Number of trials and runs in the complete search, set by `open`."""

    @property
    def total(self) -> int:
        """Number of runs in the complete search."""
        return self.size.runs

    @contextlib.contextmanager
    def open(self, overrides: Sequence[Override]) -> Iterator[None]:
        """Check the search and open its study for the duration of the block.

        Raises:
            ConfigError: a key or a value is wrong, or the study belongs to another search.
        """
        search_validation.refuse(self._sweeper)
        self._space, self._fixed = grammar.split(overrides)
        if not self._space:
            raise ConfigError(
                "hydra/sweeper=optuna has nothing to search: give hydra.sweeper.params, for "
                "example 'lora.r: choice(4, 16)'."
            )
        self.size = size.of(self._sweeper, overrides)
        composed = self._jobs.compose(self._fixed)
        settings = self._settings(composed)
        self._refuse_mixtures(settings)
        if (source := OmegaConf.select(composed, "resume_from")) is not None:
            hub.take_sweep(str(source), self._sweep_dir, None)
        self.size = self.size.without(self._count_illegal(self._space))
        settings = dataclasses.replace(settings, n_trials=self.size.parts)
        planned = plan.SweepPlan(settings.sampler.name, self.size.runs, seeds_per_trial=self._seeds)
        plan.write(self._sweep_dir, planned)
        with Study(settings) as study:
            self._study = study
            _explain_pruning(settings)
            yield

    def _settings(self, composed: DictConfig) -> Settings:
        sweeper = self._sweeper
        pruner, storage = sweeper["pruner"], sweeper["storage"]
        self._seed = int(OmegaConf.select(composed, "seed") or 0)
        return Settings(
            sweep_dir=self._sweep_dir,
            name=sweeper["study_name"] or self._sweep_dir.resolve().name,
            space=self._space,
            objectives=search_validation.objectives(sweeper, composed),
            n_trials=self.size.parts,
            storage=storage,
            sampler=specs.sampler(sweeper["sampler"] or {}),
            pruner=specs.pruner(pruner),
            seed=self._seed,
            fixed=job_batch.flat(composed),
            retry_oom=bool(OmegaConf.select(composed, "retry_oom")),
        )

    def _refuse_mixtures(self, settings: Settings) -> None:
        """Refuse combinations that Optuna does not support or that make a mean meaningless."""
        is_multi_objective = len(settings.objectives) > 1
        if settings.pruner and is_multi_objective:
            raise ConfigError(
                f"hydra/sweeper/pruner={settings.pruner.name} with {len(settings.objectives)} "
                "objectives: Optuna prunes by one; name one, or leave the pruner out."
            )
        if settings.pruner and self._seeds > 1:
            raise ConfigError(
                f"hydra/sweeper/pruner={settings.pruner.name} with hydra.sweeper.seeds_per_trial="
                f"{self._seeds}: a seed that is stopped leaves no mean; leave one of them out."
            )
        if is_multi_objective and settings.sampler.name == "cmaes":
            raise ConfigError(
                "hydra/sweeper/sampler=cmaes finds one objective: choose tpe, nsgaii, gp, qmc or "
                "random for several."
            )
        if self._seeds > 1 and "seed" in self._space:
            raise ConfigError(
                f"seed is searched and hydra.sweeper.seeds_per_trial={self._seeds} sets it: leave "
                "one of them out."
            )

    def _count_illegal(self, space: Space) -> int:
        """Check each cell of a small space or each value of a large one.

        Returns:
            The number of invalid cells; 0 for a large space.

        Raises:
            ConfigError: no cell is valid, or a value of a large space is invalid.
        """
        cells, exhaustive = spaces.sample(space)
        problems = [p for cell in cells if (p := self._problem(cell))]
        left_out = refuse_or_leave_out(problems, len(cells), exhaustive=exhaustive)
        for problem in left_out:
            log(f"left out: {problem}")
        return len(left_out)

    def _problem(self, parameters: spaces.Parameters) -> str | None:
        try:
            self._jobs.check(self._overrides(parameters))
        except ExperimentError as error:
            return f"{' '.join(self._texts(parameters))}: {error}"
        return None

    def _texts(self, parameters: spaces.Parameters) -> list[str]:
        return [f"{k}={spaces.text(self._space[k], v)}" for k, v in parameters.items()]

    def _overrides(self, parameters: spaces.Parameters) -> list[str]:
        return [*self._texts(parameters), *self._fixed]

    def ask(self) -> list[SearchTrial]:
        """Return the next trials, at most `n_jobs`; empty if the search is complete.

        Raises:
            ConfigError: the storage has failed, or more than 100 trials in a row were invalid.
        """
        trials: list[SearchTrial] = []
        if self._illegal_in_a_row > _ILLEGAL_IN_A_ROW:
            raise ConfigError(
                f"{self._illegal_in_a_row} trials in a row were illegal: see the messages above "
                "and narrow hydra.sweeper.params."
            )
        while len(trials) < int(self._sweeper["n_jobs"]):
            study_trial = self._study.ask(wait=not trials)
            if study_trial is None:
                break
            trials.append(self._prepare(study_trial))
        return trials

    def _prepare(self, study_trial: StudyTrial) -> SearchTrial:
        verb = "resumes" if study_trial.resumed else "is"
        log(f"trial {study_trial.number} {verb}: {' '.join(self._texts(study_trial.parameters))}")
        trial = SearchTrial(study_trial)
        for index in range(self._seeds):
            overrides = self._overrides(study_trial.parameters)
            if self._seeds > 1:
                overrides = [override for override in overrides if not override.startswith("seed=")]
                overrides.append(f"seed={self._seed + index}")
                overrides.append(
                    f"hydra.sweep.subdir={study_trial.number}_seed{self._seed + index}"
                )
            overrides.append(f"hydra.sweeper.trial={study_trial.number}")
            try:
                trial.jobs.append(
                    self._jobs.prepare(study_trial.number * self._seeds + index, overrides)
                )
            except ConfigError as error:
                trial.error = error
        return trial

    def run(self, launcher: Any, trials: Sequence[SearchTrial]) -> Iterator[Result]:
        """Launch the jobs of some trials, report to the study, and yield each job's result."""
        results_by_trial: dict[int, list[Result]] = {
            trial.study_trial.number: [] for trial in trials
        }
        jobs = [job for trial in trials if trial.error is None for job in trial.jobs]
        for results in job_batch.launch(launcher, sorted(jobs, key=lambda job: job.number)):
            for job, job_return in results:
                results_by_trial[job.number // self._seeds].append(
                    (*job_batch.ended(job_return), job.number)
                )
        for trial in trials:
            if trial.error is not None:
                log(f"trial {trial.study_trial.number} is illegal: {trial.error}")
                results_by_trial[trial.study_trial.number] = [
                    ("illegal", trial.error, trial.study_trial.number)
                ]
            self._report(trial.study_trial.number, results_by_trial[trial.study_trial.number])
            yield from results_by_trial[trial.study_trial.number]

    def _report(self, number: int, results: Sequence[Result]) -> None:
        states = [state for state, _, _ in results]
        self._illegal_in_a_row = self._illegal_in_a_row + 1 if "illegal" in states else 0
        for status in ("illegal", "oom", "failed"):
            if status in states:
                self._study.fail(number, status, str(results[states.index(status)][1]))
                return
        if "unfinished" in states:  # the trial stays running, and the next start resumes it
            return
        if "pruned" in states:
            self._study.prune(number)
            return
        columns = [_as_list(value) for _, value, _ in results]
        if len({len(column) for column in columns}) != 1 or not columns[0]:
            self._study.fail(number, "failed", "a run has no objective")
            return
        means = [
            statistics.mean_interval([float(value) for value in values])
            for values in zip(*columns, strict=True)
        ]
        attributes: dict[str, Any] = {}
        if self._seeds > 1:
            attributes = {"seeds": self._seeds, "interval": [[m.low, m.high] for m in means]}
        self._study.tell(number, [mean.estimate for mean in means], attributes)

    def write_results(self) -> None:
        """Write the results of the search to the sweep's folder and print them.

        Raises:
            RecordError: the folder cannot be written.
        """
        summary = self._study.results()
        finished = [r for r in records.read_all(self._sweep_dir) if r.status == "finished"]
        reasons = [arms.apart(finished, name) for name in summary["objectives"]]
        if reason := next(filter(None, reasons), None):
            summary = {k: v for k, v in summary.items() if not k.startswith(("best_", "solutions"))}
            log(f"no trial is the best one: {reason.text}")
        text = yaml.safe_dump(summary, sort_keys=False, allow_unicode=True)
        plan.write_shared(self._sweep_dir, RESULTS, text)
        counts = ", ".join(f"{n} {name}" for name, n in summary["trials"].items()) or "none"
        log(f"trials of {summary['study_name']}: {counts}")
        if "best_trial" in summary:
            overrides = " ".join(self._texts(summary["best_params"]))
            log(f"best trial {summary['best_trial']}: {summary['best_value']:.6g} with {overrides}")


def _as_list(value: Any) -> list[float]:
    if value is None:
        return []
    return [float(v) for v in value] if isinstance(value, list | tuple) else [float(value)]


def refuse_or_leave_out(problems: Sequence[str], count: int, *, exhaustive: bool) -> Sequence[str]:
    """Return the problems of cells that are left out of a search; refuse all others.

    Invalid combinations of values are allowed as long as some cells can be run.

    Args:
        problems: one sentence per invalid cell.
        count: the number of cells that were checked.
        exhaustive: whether these are all cells of the space.

    Raises:
        ConfigError: no cell is valid, or a value of a larger space is invalid.
    """
    if not exhaustive:
        job_batch.refuse(problems, "the search has illegal values, none was started")
    elif len(problems) == count:
        job_batch.refuse(problems, "no cell of the search is legal, none was started")
    return problems


def _explain_pruning(settings: Settings) -> None:
    [objective, *_] = settings.objectives
    if settings.pruner is not None and objective != objectives.DEFAULT:
        log(
            f"pruning compares {objectives.DEFAULT} at each evaluation, because {objective} is "
            "measured at the end only"
        )
