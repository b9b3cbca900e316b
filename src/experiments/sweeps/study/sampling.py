"""Create Optuna's samplers and pruners from typed settings; no parameter set is drawn twice.

This module imports Optuna, so it is imported only when a study is opened.
"""

import dataclasses
import importlib.util
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from experiments.errors import ConfigError
from experiments.sweeps.study import space as spaces
from experiments.sweeps.study import specs
from experiments.sweeps.study.space import Choice, Integers, Reals, Space

# Number of draws before an untried cell is chosen at random: a converged sampler would repeat
# itself forever.
_ATTEMPTS = 20
_SAMPLERS: dict[type[specs.Sampler], Callable[..., BaseSampler]] = {
    specs.Tpe: optuna.samplers.TPESampler,
    specs.Random: optuna.samplers.RandomSampler,
    specs.Cmaes: optuna.samplers.CmaEsSampler,
    specs.Gp: optuna.samplers.GPSampler,
    specs.Qmc: optuna.samplers.QMCSampler,
    specs.Nsgaii: optuna.samplers.NSGAIISampler,
}
# Warnings that are turned off because the documentation covers them, such as the one that choices
# are drawn independently of the numbers.
_QUIET: dict[type[specs.Sampler], dict[str, bool]] = {
    specs.Cmaes: {"warn_independent_sampling": False},
    specs.Gp: {"warn_independent_sampling": False},
    specs.Qmc: {"warn_independent_sampling": False, "warn_asynchronous_seeding": False},
}
_PRUNERS: dict[type[specs.Pruner], Callable[..., optuna.pruners.BasePruner]] = {
    specs.Median: optuna.pruners.MedianPruner,
    specs.Percentile: optuna.pruners.PercentilePruner,
    specs.Asha: optuna.pruners.SuccessiveHalvingPruner,
    specs.Hyperband: optuna.pruners.HyperbandPruner,
    specs.Wilcoxon: optuna.pruners.WilcoxonPruner,
}


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Convert a search space to Optuna's distributions."""
    return {name: _distribution(axis) for name, axis in space.items()}


def _distribution(axis: spaces.Axis) -> BaseDistribution:
    match axis:
        case Choice():
            return CategoricalDistribution(axis.values)
        case Integers():
            return IntDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
        case Reals():
            return FloatDistribution(axis.low, axis.high, log=axis.log)


def sampler(
    spec: specs.Sampler, space: Space, seed: int, trials: Callable[[], Sequence[FrozenTrial]]
) -> BaseSampler:
    """Return the sampler of a study.

    Args:
        spec: the kind of sampler and its settings.
        space: the search space.
        seed: seed of the sampler.
        trials: function that returns all trials of the study.

    Raises:
        ConfigError: the sampler needs a package that is not installed, or cannot use this space.
    """
    if spec.needs is not None and importlib.util.find_spec(spec.needs) is None:
        raise ConfigError(
            f"hydra/sweeper/sampler={spec.name} needs the package {spec.needs}: "
            f"pip install -e '.[{spec.needs}]', or choose another sampler."
        )
    if isinstance(spec, specs.GridSampler) and spaces.size(space) is None:
        infinite = [name for name, axis in space.items() if spaces.values(axis) is None]
        raise ConfigError(
            f"hydra/sweeper/sampler=grid with {infinite[0]}=interval(...): an interval has no "
            "cells; use choice(...) or range(...), or another sampler."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return Unrepeated(_inner(spec, seed), space, seed, trials)


def _inner(spec: specs.Sampler, seed: int) -> BaseSampler | None:
    if isinstance(spec, specs.GridSampler):
        return None  # a grid needs no sampler: it takes the next untried cell
    options = {k: v for k, v in dataclasses.asdict(spec).items() if k not in ("name", "seed")}
    inner: BaseSampler = _SAMPLERS[type(spec)](seed=seed, **options, **_QUIET.get(type(spec), {}))
    return inner


class Unrepeated(BaseSampler):
    """A sampler that draws all parameters of a trial jointly, and redraws sets already tried.

    Optuna stores each parameter when it is drawn, so a repeated set must be detected before.
    """

    def __init__(
        self,
        inner: BaseSampler | None,
        space: Space,
        seed: int,
        trials: Callable[[], Sequence[FrozenTrial]],
    ) -> None:
        self._inner = inner
        self._space = space
        self._distributions = distributions(space)
        self._seed = seed
        self._trials = trials

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the full space, so that no parameter is drawn independently."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return parameters that no other trial has, unless all cells of the space are taken."""
        tried_keys = {spaces.key(t.params) for t in self._trials() if t.number != trial.number}
        if self._inner is not None:
            relative = self._inner.infer_relative_search_space(study, trial)
            for _ in range(_ATTEMPTS):
                parameters = self._draw(study, trial, relative)
                if spaces.key(parameters) not in tried_keys:
                    return parameters
        return self._untried(tried_keys, trial.number)

    def _draw(
        self, study: optuna.Study, trial: FrozenTrial, relative: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        assert self._inner is not None
        parameters = self._inner.sample_relative(study, trial, relative)
        for name, distribution in self._distributions.items():
            if name not in parameters:
                parameters[name] = self._inner.sample_independent(study, trial, name, distribution)
        return {name: parameters[name] for name in self._distributions}

    def _untried(self, tried_keys: set[str], number: int) -> dict[str, Any]:
        """Return an untried cell (the first one for a grid, else any), or a random point."""
        rng = random.Random(f"untried {self._seed} {number}")
        cells = spaces.cells(self._space)
        if cells is not None:
            free = [cell for cell in cells if spaces.key(cell) not in tried_keys]
            if free:
                return dict(free[0] if self._inner is None else rng.choice(free))
        return {name: _at_random(axis, rng) for name, axis in self._space.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Raise, because `sample_relative` draws every parameter and this is never called."""
        raise NotImplementedError(param_name)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Forward the call to the inner sampler."""
        if self._inner is not None:
            self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forward the call to the inner sampler."""
        if self._inner is not None:
            self._inner.after_trial(study, trial, state, values)


def _at_random(axis: spaces.Axis, rng: random.Random) -> spaces.Value:
    axis_values = spaces.values(axis)
    if axis_values is not None:
        return rng.choice(axis_values)
    assert isinstance(axis, Reals)
    if axis.log:
        return float(min(axis.high, axis.low * (axis.high / axis.low) ** rng.random()))
    return rng.uniform(axis.low, axis.high)


def pruner(spec: specs.Pruner, first_step: int) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner.

    Args:
        spec: the kind of pruner and its settings.
        first_step: optimiser step of a run's first evaluation, the default first rung of ASHA.
    """
    options = {k: v for k, v in dataclasses.asdict(spec).items() if k != "name"}
    if isinstance(spec, specs.Asha):
        options["min_resource"] = spec.min_resource or first_step
    elif isinstance(spec, specs.Hyperband):
        options["max_resource"] = spec.max_resource or "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna_pruner: optuna.pruners.BasePruner = _PRUNERS[type(spec)](**options)
    return optuna_pruner
