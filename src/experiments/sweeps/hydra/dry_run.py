"""List every run that a command line describes, without starting any.

The overrides are composed as `train.py -m` composes them: grids and searches in a sweep's file are
read by the same code that the sweepers use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import config
from experiments.config import RunConfig, choices
from experiments.errors import ConfigError, ExperimentError
from experiments.runtime.progress import log
from experiments.sweeps import kind, sweep_files
from experiments.sweeps.hydra import grammar, grid, job_batch, search, size, tuning
from experiments.sweeps.hydra import tuning_validation as validation
from experiments.sweeps.hydra.size import Size
from experiments.sweeps.kind import SweepKind
from experiments.sweeps.study import space as spaces

_NOWHERE = Path("outputs") / ".planned"


@dataclass(frozen=True)
class DryRun:
    """The runs of a command line."""

    kind: str
    """`run`, `grid`, `search` or `tuned`."""
    runs: list[tuple[str, RunConfig]]
    """Pairs of the varied overrides and the run: for a search, its cells or one run per value; for
    a tuned sweep, its arms."""
    total: int
    """Number of runs to execute; for a tuned sweep, those expected."""
    most: int
    """Number of runs to execute at most."""
    arms: str | None = None
    """The number of arms of a tuned sweep, and of the runs of each, in words."""


@dataclass(frozen=True)
class _Sweep:
    """A command line, composed and parsed."""

    loader: ConfigLoader
    master: DictConfig
    sweeper: Mapping[str, Any]
    overrides: list[Override]


def read(arguments: Sequence[str], folder: Path) -> DryRun:
    """Return every run that the overrides describe.

    Args:
        arguments: overrides as for train.py.
        folder: the folder of the config files.

    Raises:
        ConfigError: the overrides cannot be composed, or runs are invalid; all are listed.
    """
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return _read(_compose(arguments))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(config.explain(error)) from error


def count(arguments: Sequence[str], folder: Path) -> Size:
    """Return the size of the sweep that the overrides describe, without composing its jobs.

    Raises:
        ConfigError: the overrides cannot be composed.
    """
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            sweep = _compose(arguments)
            return size.of(sweep.sweeper, sweep.overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(config.explain(error)) from error


def output_folder(arguments: Sequence[str], folder: Path) -> Path:
    """Return the folder that the sweep of these overrides writes to, below the working directory.

    Raises:
        ConfigError: the overrides cannot be composed.
    """
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return sweep_files.folder(_compose(arguments).master)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(config.explain(error)) from error


def _compose(arguments: Sequence[str]) -> _Sweep:
    loader = GlobalHydra.instance().config_loader()
    arguments = choices.quoted(arguments)
    master = loader.load_configuration("config", arguments, RunMode.MULTIRUN, from_shell=False)
    sweep_files.refuse_unfound(master, master.hydra.runtime.choices.get("sweeps"))
    kind.of(master.hydra.sweeper)
    sweeper = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
    assert isinstance(sweeper, dict)
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    overrides = grammar.parse([*params, *master.hydra.overrides.task], loader)
    return _Sweep(loader, master, {str(key): sweeper[key] for key in sweeper}, overrides)


def _read(sweep: _Sweep) -> DryRun:
    planned_size = size.of(sweep.sweeper, sweep.overrides)
    jobs = job_batch.Jobs(sweep.loader, sweep.master, _NOWHERE, planned=True)
    if planned_size.kind is SweepKind.search:
        return _search(jobs, sweep, planned_size)
    if planned_size.kind is SweepKind.tuned:
        return _tuned(jobs, sweep, planned_size)
    varied, cells = _varied(sweep.overrides), grid.cells(sweep.overrides)
    if not varied:
        return DryRun("run", [("", jobs.check(cells[0])[1])], 1, 1)
    runs = _checked(jobs, [(cell, varied) for cell in cells])
    distinct = len({config.run_id(run) for _, run in runs})
    total = planned_size.without(len(runs) - distinct).runs
    return DryRun("grid", runs, total, total)


def _varied(overrides: Sequence[Override]) -> set[str]:
    return {override.get_key_element() for override in overrides if override.is_sweep_override()}


def _search(jobs: job_batch.Jobs, sweep: _Sweep, planned_size: Size) -> DryRun:
    space, fixed = grammar.split(sweep.overrides)
    cells, exhaustive = spaces.sample(space)
    runs, problems = [], []
    for cell in cells:
        overrides = [f"{k}={spaces.text(space[k], v)}" for k, v in cell.items()]
        try:
            runs.append((" ".join(overrides), jobs.check([*overrides, *fixed])[1]))
        except ExperimentError as error:
            problems.append(f"{' '.join(overrides)}: {error}")
    left_out = search.refuse_or_leave_out(problems, len(cells), exhaustive=exhaustive)
    for problem in left_out:
        log(f"left out: {problem}")
    total = planned_size.without(len(left_out)).runs
    return DryRun("search", runs, total, total)


def _tuned(jobs: job_batch.Jobs, sweep: _Sweep, planned_size: Size) -> DryRun:
    """Plan one run per arm: its other learning rates and seeds take equal time and memory."""
    sweeper = sweep.sweeper
    validation.refuse(sweeper, sweep.overrides)
    validation.refuse_chosen_rate(sweep.master, sweep.overrides)
    arm_keys = {
        str(override).partition("=")[0] for arm in sweeper["arms"] or () for override in arm
    }
    varied = arm_keys | _varied(sweep.overrides)
    batch = grid.arms(sweep.overrides, sweeper["arms"])
    runs = _checked(jobs, [(arm, varied) for arm in batch])
    for _, run in runs:
        validation.refuse_without_validation(run)
    distinct: dict[str, tuple[str, RunConfig]] = {}
    for overrides, run in runs:
        distinct.setdefault(tuning.arm_key(run), (overrides, run))
    arms = list(distinct.values())
    validation.refuse_rules(sweeper["rules"], len(arms))
    tuned_size = planned_size.without(len(batch) - len(arms))
    return DryRun("tuned", arms, tuned_size.runs, tuned_size.most_runs, tuned_size.arm_text())


def _checked(
    jobs: job_batch.Jobs, batch: Sequence[tuple[Sequence[str], set[str]]]
) -> list[tuple[str, RunConfig]]:
    """Compose and check runs, and report all problems together.

    Raises:
        ConfigError: at least one run is invalid.
    """
    runs, problems = [], []
    for overrides, varied in batch:
        varied_overrides = [
            override for override in overrides if override.partition("=")[0] in varied
        ]
        try:
            run = jobs.check(overrides)[1]
            runs.append((" ".join(choices.plain(varied_overrides, run)), run))
        except ExperimentError as error:
            problems.append(f"{' '.join(map(choices.unquoted, varied_overrides))}: {error}")
    job_batch.refuse(problems, f"{len(problems)} of {len(batch)} runs are illegal")
    return runs
