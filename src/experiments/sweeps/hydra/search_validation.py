"""Validate the keys of `hydra/sweeper=optuna`, and find its objectives and their directions."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.analysis.statistics import Direction
from experiments.errors import ConfigError
from experiments.evaluation import metrics
from experiments.runs import objectives as judged


def refuse(given: Mapping[str, Any]) -> None:
    """Check the values of the sweeper's keys.

    Raises:
        ConfigError: a value is out of range, or a key is not supported.
    """
    for key in ("n_trials", "n_jobs", "seeds_per_trial"):
        if given[key] is not None and int(given[key]) < 1:
            raise ConfigError(f"hydra.sweeper.{key}={given[key]}: must be at least 1.")
    if given["search_space"] is not None:
        raise ConfigError(
            "hydra.sweeper.search_space is the old form: write hydra.sweeper.params, for example "
            "'lora.r: choice(4, 16)' or 'trainer.learning_rate: tag(log, interval(1e-4, 1e-2))'."
        )
    if given["custom_search_space"] is not None:
        raise ConfigError(
            "hydra.sweeper.custom_search_space is not supported: a space that a function changes "
            "from trial to trial cannot be checked before it starts; use hydra.sweeper.params."
        )


def objectives(given: Mapping[str, Any], composed: DictConfig) -> dict[str, Direction]:
    """Return each objective with its direction.

    Raises:
        ConfigError: a direction is missing, wrong, or contradicts the metric.
    """
    own = OmegaConf.select(composed, "eval.objective") or judged.DEFAULT
    names = list(given["objectives"] or [own])
    ways = given["direction"]
    ways = [ways] * len(names) if ways is None or isinstance(ways, str) else list(ways)
    if len(ways) != len(names):
        raise ConfigError(
            f"hydra.sweeper.direction has {len(ways)} entries for {len(names)} objectives "
            f"({', '.join(names)}): name the scores in hydra.sweeper.objectives, and a direction "
            "for each, or leave direction out."
        )
    given_for_own = OmegaConf.select(composed, "eval.direction")
    return {
        name: _direction(name, way, given_for_own if name == own else None)
        for name, way in zip(names, ways, strict=True)
    }


def _direction(name: str, way: str | None, own: str | None) -> Direction:
    declared = own or metrics.direction(name)
    if way is None and declared is None:
        raise ConfigError(
            f"hydra.sweeper.objectives: no metric declares the direction of {name}; set "
            "hydra.sweeper.direction to minimize or maximize."
        )
    if way is not None and way not in ("minimize", "maximize"):
        raise ConfigError(f"hydra.sweeper.direction={way}: must be minimize or maximize.")
    if way is not None and declared is not None and way != declared:
        raise ConfigError(
            f"hydra.sweeper.direction={way}, but {name} is better when "
            f"{'lower' if declared == 'minimize' else 'higher'}: leave hydra.sweeper.direction out."
        )
    return "minimize" if (way or declared) == "minimize" else "maximize"
