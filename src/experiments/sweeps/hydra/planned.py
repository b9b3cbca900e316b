"""List every run that a command line describes, without starting any.

The overrides are composed as `train.py -m` composes them: grids and searches in a sweep's file are
read by the same code that the sweepers use.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments import config
from experiments.analysis.arms import rate_design
from experiments.config import RunConfig, choices
from experiments.errors import ConfigError, ExperimentError
from experiments.sweeps.hydra import jobs, tuning
from experiments.sweeps.hydra import space as grammar
from experiments.sweeps.hydra import tuning_refusals as refusals
from experiments.sweeps.study import space as spaces

_N_TRIALS = 20
# In a search with more cells, each value is planned once instead of each combination.
_PLANNED_CELLS = 64
_NOWHERE = Path("outputs") / ".planned"


@dataclass(frozen=True)
class Planned:
    """The runs of a command line."""

    kind: str
    """`run`, `grid`, `search` or `tuned`."""
    runs: list[tuple[str, RunConfig]]
    """Pairs of the varied overrides and the run: for a search, its cells or one run per value; for
    a tuned sweep, its arms."""
    total: int
    """Number of runs to execute; for a tuned sweep, the minimum."""


def read(words: Sequence[str], folder: Path) -> Planned:
    """Return every run that the overrides describe.

    Args:
        words: overrides as for train.py.
        folder: the folder of the config files.

    Raises:
        ConfigError: the overrides cannot be composed, or runs are invalid; all are listed.
    """
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return _read(choices.quoted(words))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(config.explain(error)) from error


def _read(words: Sequence[str]) -> Planned:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    master = hydra.compose_config(
        "config", list(words), RunMode.MULTIRUN, with_log_configuration=False, from_shell=False
    )
    loader = hydra.config_loader
    found = _Composer(loader, jobs.Jobs(HydraContext(loader, Callbacks()), master, _NOWHERE))
    sweeper = master.hydra.sweeper
    written = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    overrides = grammar.parse([*written, *master.hydra.overrides.task], loader)
    if "n_trials" in sweeper:
        return _search(found, overrides, sweeper)
    if "arms" in sweeper:
        return _tuned(found, overrides, master)
    if any(one.is_sweep_override() for one in overrides):
        return _grid(found, overrides)
    return Planned("run", [("", found.run([str(one.input_line) for one in overrides], set()))], 1)


class _Composer:
    """Composes the runs of a sweep; runs that choose the same config files are composed once.

    A composition takes Hydra 0.1 s, most of it to choose the config files.
    """

    def __init__(self, loader: ConfigLoader, found: jobs.Jobs) -> None:
        self._loader = loader
        self._found = found
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def run(self, overrides: Sequence[str], varied: set[str]) -> RunConfig:
        """Return one run, with the same checks as in a sweeper.

        Raises:
            ExperimentError: the run is invalid.
        """
        from experiments import runs

        values = [text for text in overrides if self._is_plain_value(text, varied)]
        rest = tuple(text for text in overrides if text not in values)
        if rest not in self._composed:
            composed = self._found.compose(rest)
            with open_dict(composed):
                del composed["hydra"]
            self._composed[rest] = composed
        composed = copy.deepcopy(self._composed[rest])
        try:
            for one in grammar.parse(values, self._loader):
                OmegaConf.update(composed, one.get_key_element(), one.value(), merge=True)
        except OmegaConfBaseException as error:
            raise ConfigError(config.explain(error)) from error
        run = config.load(composed)
        runs.check(run)
        return run

    def _is_plain_value(self, text: str, varied: set[str]) -> bool:
        """Return whether an override only sets a varied value: no config file, no new key."""
        key = text.partition("=")[0]
        if key.startswith(("+", "~")):
            return False
        return key in varied and ("." in key or not self._loader.get_group_options(key))


def _grid(found: _Composer, overrides: Sequence[Override]) -> Planned:
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(
                f"{override.input_line}: a grid needs values, an interval has none; list them, "
                "or search it with hydra/sweeper=optuna."
            )
    [batch] = BasicSweeper.split_arguments(list(overrides), None)
    varied = {one.get_key_element() for one in overrides if one.is_sweep_override()}
    runs = _checked(found, [(job, varied) for job in batch])
    return Planned("grid", runs, len(runs))


def _search(found: _Composer, overrides: Sequence[Override], sweeper: DictConfig) -> Planned:
    space, fixed = grammar.split(overrides)
    size = spaces.size(space)
    wanted = sweeper.n_trials if sweeper.n_trials is not None else _N_TRIALS
    cells: list[dict[str, Any]] = list(spaces.cells(space) or ()) if size else []
    if not cells or len(cells) > _PLANNED_CELLS:
        cells = list(_one_by_one(space))
    texts = [[f"{k}={spaces.text(space[k], v)}" for k, v in cell.items()] for cell in cells]
    runs = _checked(found, [([*text, *fixed], set(space)) for text in texts])
    total = min(int(wanted), size or int(wanted)) * int(sweeper.get("seeds_per_trial") or 1)
    return Planned("search", runs, total)


def _tuned(found: _Composer, overrides: Sequence[Override], master: DictConfig) -> Planned:
    """Plan one run per arm: its other learning rates and seeds take equal time and memory."""
    given = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
    assert isinstance(given, dict)
    refusals.refuse({str(key): value for key, value in given.items()}, overrides)
    refusals.refuse_chosen_rate(master, overrides)
    listed = given["arms"]
    own = {str(text).partition("=")[0] for arm in listed or () for text in arm}
    varied = own | {one.get_key_element() for one in overrides if one.is_sweep_override()}
    runs = _checked(found, [(arm, varied) for arm in tuning.batch(overrides, listed)])
    for _, run in runs:
        refusals.refuse_without_validation(run)
    refusals.refuse_rules(given["rules"], len(runs))
    seeds = len(given["seeds"] or rate_design.SEEDS)
    return Planned("tuned", runs, len(runs) * rate_design.least_runs(seeds, int(given["repeats"])))


def _one_by_one(space: spaces.Space) -> list[dict[str, Any]]:
    """Return few parameter sets that cover each choice's values and each interval's ends."""
    ends = {
        name: list(axis.values) if isinstance(axis, spaces.Choice) else [axis.low, axis.high]
        for name, axis in space.items()
    }
    first = {name: values[0] for name, values in ends.items()}
    return [first, *({**first, name: v} for name, vs in ends.items() for v in vs[1:])]


def _checked(
    found: _Composer, wanted: Sequence[tuple[Sequence[str], set[str]]]
) -> list[tuple[str, RunConfig]]:
    """Compose and check runs, and report all problems together.

    Raises:
        ConfigError: at least one run is invalid.
    """
    runs, problems = [], []
    for overrides, varied in wanted:
        shown = [text for text in overrides if text.partition("=")[0] in varied]
        try:
            run = found.run(overrides, varied)
            runs.append((" ".join(choices.plain(shown, run)), run))
        except ExperimentError as error:
            problems.append(f"{' '.join(map(choices.unquoted, shown))}: {error}")
    jobs.refuse(problems, f"{len(problems)} of {len(wanted)} runs are illegal")
    return runs
