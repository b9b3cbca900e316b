"""The samplers and pruners of a study as typed settings, chosen by name from a config group.

Unless noted otherwise, field names and defaults are Optuna's (optuna 5.0, `optuna.samplers`,
`optuna.pruners`), so its documentation applies.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from experiments.errors import ConfigError, did_you_mean


@dataclass
class Sampler:
    """The method that chooses the parameters of the next trial."""

    needs: ClassVar[str | None] = None
    """A package that this sampler needs and Optuna does not install."""
    name: str = ""
    seed: int | None = None
    """null = the run's seed. The number of existing trials is added to the seed."""


@dataclass
class Tpe(Sampler):
    """Tree-structured Parzen estimator (Bergstra et al. 2011)."""

    name: str = "tpe"
    n_startup_trials: int = 10
    """Random trials before the estimator is used."""
    n_ei_candidates: int = 24
    multivariate: bool = False
    """Model the parameters jointly instead of independently."""


@dataclass
class Random(Sampler):
    """Independent draws."""

    name: str = "random"


@dataclass
class GridSampler(Sampler):
    """Every cell of a finite space, in the order of the parameters."""

    name: str = "grid"


@dataclass
class Cmaes(Sampler):
    """Covariance matrix adaptation (Hansen 2016) of numbers; choices are drawn at random."""

    needs: ClassVar[str | None] = "cmaes"
    name: str = "cmaes"
    n_startup_trials: int = 1
    sigma0: float | None = None
    """Initial step size; null = a sixth of the smallest range."""


@dataclass
class Gp(Sampler):
    """Gaussian process."""

    name: str = "gp"
    n_startup_trials: int = 10
    deterministic_objective: bool = False


@dataclass
class Qmc(Sampler):
    """Quasi-random (quasi-Monte Carlo) points that cover the space evenly."""

    name: str = "qmc"
    qmc_type: str = "sobol"
    """`sobol` or `halton`."""
    scramble: bool = True


@dataclass
class Nsgaii(Sampler):
    """Genetic algorithm for several objectives (Deb et al. 2002)."""

    name: str = "nsgaii"
    population_size: int = 50
    mutation_prob: float | None = None
    crossover_prob: float = 0.9
    swapping_prob: float = 0.5


@dataclass
class Pruner:
    """The rule that stops runs early."""

    name: str = ""


@dataclass
class Median(Pruner):
    """Stop a run whose best value so far is worse than the others' median at the same step."""

    name: str = "median"
    n_startup_trials: int = 5
    """Number of finished trials before any run may be stopped."""
    n_warmup_steps: int = 0
    """Optimiser steps before a run may be stopped."""
    n_min_trials: int = 1


@dataclass
class Percentile(Median):
    """Like `median`, with a configurable share of runs that continue."""

    name: str = "percentile"
    percentile: float = 25.0
    """Share of the runs that continue, in percent."""


@dataclass
class Asha(Pruner):
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934)."""

    name: str = "asha"
    min_resource: int | None = None
    """Optimiser steps of the first rung; null = a run's first evaluation."""
    reduction_factor: int = 4
    """One in this many runs continues past each rung, and the next rung is this many times as far
    from the start."""
    min_early_stopping_rate: int = 0


@dataclass
class Hyperband(Pruner):
    """Several successive halvings in parallel (Li et al. 2018, arXiv 1603.06560)."""

    name: str = "hyperband"
    min_resource: int = 1
    """Optimiser steps of the first rung."""
    max_resource: int | None = None
    """Optimiser steps of a complete run; null = those of the first finished run."""
    reduction_factor: int = 3


@dataclass
class Wilcoxon(Pruner):
    """Stop a run that is significantly worse than the best run on the validation rows.

    The losses of the first 64 validation rows at the same evaluation are compared by the signed
    rank test (Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945).
    """

    name: str = "wilcoxon"
    p_threshold: float = 0.1
    n_startup_steps: int = 2
    """Minimum number of rows for the test."""


SAMPLERS: dict[str, type[Sampler]] = {
    spec.name: spec for spec in (Tpe, Random, GridSampler, Cmaes, Gp, Qmc, Nsgaii)
}
PRUNERS: dict[str, type[Pruner]] = {
    spec.name: spec for spec in (Median, Percentile, Asha, Hyperband, Wilcoxon)
}


def sampler(tree: Mapping[str, Any]) -> Sampler:
    """Return the sampler that a config node describes.

    Raises:
        ConfigError: there is no such sampler, or it has no such key.
    """
    spec: Sampler = _from_tree("sampler", SAMPLERS, tree)
    return spec


def pruner(tree: Mapping[str, Any] | None) -> Pruner | None:
    """Return the pruner that a config node describes; None if the node is empty.

    Raises:
        ConfigError: there is no such pruner, it has no such key, or a value is out of range.
    """
    if not tree:
        return None
    spec: Pruner = _from_tree("pruner", PRUNERS, tree)
    if problems := list(_pruner_problems(spec)):
        raise ConfigError("; ".join(problems) + ".")
    return spec


def _from_tree(group: str, known: Mapping[str, type[Any]], tree: Mapping[str, Any]) -> Any:
    where = f"hydra/sweeper/{group}"
    if not isinstance(tree, Mapping):
        raise ConfigError(
            f"hydra.sweeper.{group}={tree}: it is chosen as a file, {where}=NAME. Allowed: "
            f"{', '.join(known)}."
        )
    if "_target_" in tree:
        raise ConfigError(
            f"hydra.sweeper.{group}._target_={tree['_target_']}: classes are not named in a "
            f"config; choose {where}=NAME. Allowed: {', '.join(known)}."
        )
    name = str(tree.get("name"))
    if name not in known:
        raise ConfigError(f"{where}={name}: {did_you_mean(name, known)}.")
    fields = [f.name for f in dataclasses.fields(known[name])]
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"hydra.sweeper.{group}.{key}: {group} {name} has no such key; "
                f"{did_you_mean(str(key), fields)}."
            )
    return known[name](**tree)


def _pruner_problems(spec: Pruner) -> Iterator[str]:
    """Yield a sentence for each value of a pruner that is out of range."""
    for key, low, high in (
        ("percentile", 0.0, 100.0),
        ("p_threshold", 0.0, 1.0),
        ("reduction_factor", 2, None),
        ("min_resource", 1, None),
    ):
        value = getattr(spec, key, None)
        if value is not None and (value < low or (high is not None and value > high)):
            limit = f"from {low:g} to {high:g}" if high is not None else f"at least {low}"
            yield f"hydra.sweeper.pruner.{key}={value}: must be {limit}"
