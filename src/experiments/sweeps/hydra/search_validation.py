"""Validate the keys of `hydra/sweeper=optuna`, and find its objectives and their directions."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.analysis.statistics import Direction
from experiments.errors import ConfigError
from experiments.evaluation import metrics
from experiments.runs import objectives as judged


def refuse(sweeper: Mapping[str, Any]) -> None:
    """Check the values of the sweeper's keys.

    Raises:
        ConfigError: a value is out of range, or a key is not supported.
    """
    for key in ("n_trials", "n_jobs", "seeds_per_trial"):
        if sweeper[key] is not None and int(sweeper[key]) < 1:
            raise ConfigError(f"hydra.sweeper.{key}={sweeper[key]}: must be at least 1.")
    if sweeper["search_space"] is not None:
        raise ConfigError(
            "hydra.sweeper.search_space is the old form: write hydra.sweeper.params, for example "
            "'lora.r: choice(4, 16)' or 'trainer.learning_rate: tag(log, interval(1e-4, 1e-2))'."
        )
    if sweeper["custom_search_space"] is not None:
        raise ConfigError(
            "hydra.sweeper.custom_search_space is not supported: a space that a function changes "
            "from trial to trial cannot be checked before it starts; use hydra.sweeper.params."
        )


def objectives(sweeper: Mapping[str, Any], composed: DictConfig) -> dict[str, Direction]:
    """Return each objective with its direction.

    Raises:
        ConfigError: a direction is missing, wrong, or contradicts the metric.
    """
    default_objective = OmegaConf.select(composed, "eval.objective") or judged.DEFAULT
    names = list(sweeper["objectives"] or [default_objective])
    directions = sweeper["direction"]
    directions = (
        [directions] * len(names)
        if directions is None or isinstance(directions, str)
        else list(directions)
    )
    if len(directions) != len(names):
        raise ConfigError(
            f"hydra.sweeper.direction has {len(directions)} entries for {len(names)} objectives "
            f"({', '.join(names)}): name the scores in hydra.sweeper.objectives, and a direction "
            "for each, or leave direction out."
        )
    configured_direction = OmegaConf.select(composed, "eval.direction")
    return {
        name: _direction(
            name, direction, configured_direction if name == default_objective else None
        )
        for name, direction in zip(names, directions, strict=True)
    }


def _direction(name: str, direction: str | None, configured: str | None) -> Direction:
    declared = configured or metrics.direction(name)
    if direction is None and declared is None:
        raise ConfigError(
            f"hydra.sweeper.objectives: no metric declares the direction of {name}; set "
            "hydra.sweeper.direction to minimize or maximize."
        )
    if direction is not None and direction not in ("minimize", "maximize"):
        raise ConfigError(f"hydra.sweeper.direction={direction}: must be minimize or maximize.")
    if direction is not None and declared is not None and direction != declared:
        raise ConfigError(
            f"hydra.sweeper.direction={direction}, but {name} is better when "
            f"{'lower' if declared == 'minimize' else 'higher'}: leave hydra.sweeper.direction out."
        )
    return "minimize" if (direction or declared) == "minimize" else "maximize"
