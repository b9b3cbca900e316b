"""The cells of a grid, and the arms of a tuned sweep: one list of overrides each."""

import itertools
from collections.abc import Sequence

from hydra.core.override_parser.types import Override

from experiments.errors import ConfigError

RATE, RATE_GROUP, SEED = "trainer.learning_rate", "lr", "seed"
RATE_PREFIXES = (f"{RATE}=", f"{RATE_GROUP}=")
"""How overrides begin that set the learning rate."""


def cells(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each cell: every combination, the last key varying fastest.

    Raises:
        ConfigError: an interval, which has no list of values.
    """
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigError(
                f"{override.input_line}: a grid needs values, an interval has none; list them, "
                "or search it with hydra/sweeper=optuna."
            )
    return [list(cell) for cell in itertools.product(*axes.values())]


def arms(
    overrides: Sequence[Override], listed_arms: Sequence[Sequence[str]] | None
) -> list[list[str]]:
    """Return the overrides of each arm: every listed arm combined with every cell of the grid.

    Raises:
        ConfigError: a listed arm sets the learning rate or the seed.
    """
    grid = cells(overrides)
    if listed_arms is None:
        return grid
    for override in [str(override) for arm in listed_arms for override in arm]:
        if override.startswith((*RATE_PREFIXES, f"{SEED}=")):
            raise ConfigError(
                f"hydra.sweeper.arms: {override}: rates and seeds are chosen by "
                "hydra/sweeper=tuned; see hydra.sweeper.rates and hydra.sweeper.seeds."
            )
    return [[*cell, *map(str, arm)] for arm in listed_arms for cell in grid]
