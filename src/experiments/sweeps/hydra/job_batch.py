"""Shared code of the sweepers: check and snapshot jobs, launch them, classify their results.

A job is composed once and checked once; from then on it travels with its config and its typed run.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments import config
from experiments.config import RunConfig, choices
from experiments.errors import ConfigError, ExperimentError, OutOfBudget, Pruned
from experiments.records import hub
from experiments.sweeps import plan, snapshot
from experiments.sweeps.hydra.composing import Composer
from experiments.sweeps.launching.sweep_job import SweepJob, value_of

Ended = Literal["finished", "pruned", "failed", "oom", "illegal", "unfinished"]


class Jobs:
    """Composes, checks and snapshots the jobs of one sweep."""

    def __init__(
        self, loader: ConfigLoader, master: DictConfig, sweep_dir: Path, *, planned: bool = False
    ) -> None:
        """Read the sweep's config.

        Args:
            loader: Hydra's loader.
            master: the config of the command line.
            sweep_dir: the sweep's folder.
            planned: whether its jobs are only planned, perhaps for another machine.
        """
        self._composer = Composer(loader, master)
        self._sweep_dir, self._planned = sweep_dir, planned

    @functools.cached_property
    def _folders(self) -> plan.Folders:
        """The sweep's folders, read when the first job gets its folder."""
        return plan.Folders(self._sweep_dir)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config of a job, including its `hydra` node.

        Raises:
            ConfigError: the config cannot be composed.
        """
        return self._composer.compose(overrides)

    def check(self, overrides: Sequence[str]) -> tuple[DictConfig, RunConfig]:
        """Return a job's config and the run it describes.

        Raises:
            ExperimentError: the job is invalid.
        """
        from experiments import runs

        composed = self.compose(overrides)
        without_hydra = OmegaConf.masked_copy(
            composed, [str(key) for key in composed if key != "hydra"]
        )
        OmegaConf.copy_cache(from_config=composed, to_config=without_hydra)
        run = config.load(without_hydra)
        runs.check(run, planned=self._planned)
        runs.refuse_wrong_targets(run)
        return composed, run

    def prepare(self, number: int, overrides: Sequence[str]) -> SweepJob:
        """Check one job, choose its folder and store its config in the snapshot.

        Raises:
            ExperimentError: the job is invalid, or the sweep's folder cannot be written.
        """
        composed, run = self.check(overrides)
        return self.place(number, overrides, composed, run)

    def check_all(self, batch: Sequence[Sequence[str]]) -> list[tuple[DictConfig, RunConfig]]:
        """Check all jobs before any of them gets a folder, and report all problems together.

        Raises:
            ConfigError: at least one job is invalid.
        """
        checked = []
        problems = []
        for number, overrides in enumerate(batch):
            try:
                checked.append(self.check(overrides))
            except ExperimentError as error:
                text = " ".join(map(choices.unquoted, overrides))
                problems.append(f"job {number} ({text}): {error}")
        refuse(problems, f"{len(problems)} of {len(batch)} jobs are illegal, none was started")
        return checked

    def place(
        self, number: int, overrides: Sequence[str], composed: DictConfig, run: RunConfig
    ) -> SweepJob:
        """Choose the folder of a checked job and store its config in the snapshot.

        Raises:
            RecordError: the sweep's folder cannot be written.
        """
        run_id = config.run_id(run)
        with open_dict(composed):
            composed.hydra.job.num = composed.hydra.job.id = number
        subdir = str(composed.hydra.sweep.subdir)
        folder = self._folders.assign(run_id, subdir)
        all_overrides = list(overrides)
        if folder != subdir:
            all_overrides.append(f"hydra.sweep.subdir='{folder}'")
            with open_dict(composed):
                composed.hydra.sweep.subdir = folder
                composed.hydra.overrides.hydra.append(all_overrides[-1])
        snapshot.write(self._sweep_dir, all_overrides, composed)
        arm_config = {key: value for key, value in config.canonical(run).items() if key != "seed"}
        arm = json.dumps(arm_config, sort_keys=True, default=str)
        return SweepJob(number, tuple(all_overrides), run_id, arm, composed, run)


def refuse(problems: Sequence[str], head: str) -> None:
    """Raise one error that lists every problem once, if there are any.

    Raises:
        ConfigError: there is at least one problem.
    """
    if problems:
        raise ConfigError(f"{head}:\n  " + "\n  ".join(dict.fromkeys(problems)))


def open_folder(sweep_dir: Path, master: DictConfig) -> None:
    """Create the sweep's folder, and store the sweep's config and code hashes in it.

    Raises:
        RecordError: the folder cannot be written.
    """
    plan.write_shared(sweep_dir, "multirun.yaml", OmegaConf.to_yaml(master))
    snapshot.write_code(sweep_dir)


def take_from_hub(runs: Sequence[RunConfig], sweep_dir: Path) -> None:
    """Copy the records and checkpoints of a grid's runs from `resume_from`, if it is set.

    Raises:
        RecordError: there is no record, or none of these runs.
    """
    if runs and (source := runs[0].resume_from) is not None:
        configs = {config.run_id(run): config.canonical(run) for run in runs}
        hub.take_sweep(source, sweep_dir, configs)


def seeds_in_turn(jobs: Sequence[SweepJob]) -> list[SweepJob]:
    """Sort the jobs by seed: the first seed of every arm comes before the second seed of any arm.

    Jobs with the same position keep their order, so the first arm, the reference, comes first.
    """
    seen: Counter[str] = Counter()
    turns = []
    for job in jobs:
        turns.append((seen[job.arm], job.number, job))
        seen[job.arm] += 1
    return [job for *_, job in sorted(turns, key=lambda turn: turn[:2])]


def launch(
    launcher: Any, jobs: Sequence[SweepJob], at_once: int | None = None
) -> Iterator[list[tuple[SweepJob, JobReturn]]]:
    """Launch jobs in order and yield their results in groups of at most `at_once`."""
    if not hasattr(launcher, "launch_jobs"):
        yield from _launch_foreign(launcher, sorted(jobs, key=lambda j: j.number), at_once)
        return
    size = max(1, at_once or len(jobs))
    for start in range(0, len(jobs), size):
        group = jobs[start : start + size]
        yield list(zip(group, launcher.launch_jobs(group), strict=True))


def _launch_foreign(
    launcher: Any, jobs: Sequence[SweepJob], at_once: int | None
) -> Iterator[list[tuple[SweepJob, JobReturn]]]:
    """Launch with another plugin's launcher, which can only number its jobs consecutively."""
    groups: list[list[SweepJob]] = []
    for job in jobs:
        last = groups[-1] if groups else []
        if last and job.number == last[-1].number + 1 and len(last) < (at_once or len(jobs)):
            last.append(job)
        else:
            groups.append([job])
    for group in groups:
        results = launcher.launch(
            [list(job.overrides) for job in group], initial_job_idx=group[0].number
        )
        yield list(zip(group, results, strict=True))


def ended(result: JobReturn) -> tuple[Ended, Any]:
    """Return how a job ended, and its value or its error, without raising or printing."""
    from experiments.runs import peak_memory

    value = value_of(result)
    if isinstance(value, OutOfBudget):
        return "unfinished", value
    if isinstance(value, Pruned):  # raised here, or returned from another process
        return "pruned", value
    if result.status == JobStatus.COMPLETED:
        return "finished", value
    if isinstance(value, BaseException) and peak_memory.is_out_of_memory(value):
        return "oom", value
    return "failed", value


def flat(composed: DictConfig) -> dict[str, str]:
    """Return a job's config as flat keys and values, without keys that only affect execution."""
    tree = OmegaConf.to_container(choices.moved(composed), resolve=False)
    assert isinstance(tree, dict)
    dropped = ("hydra", "sweeps", "seed", "model.geometry", *config.EXECUTION_KEYS)
    return {
        key: str(value)
        for key, value in _leaves(tree)
        if not any(key == d or key.startswith(f"{d}.") for d in dropped)
    }


def _leaves(tree: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
