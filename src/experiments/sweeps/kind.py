"""The kinds of sweeps: each of our sweepers declares its own in `hydra.sweeper.kind`."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from experiments.errors import ConfigError


class SweepKind(Enum):
    """What a sweeper runs."""

    grid = "grid"
    """Every combination of the listed values (`hydra/sweeper=checked`)."""
    search = "search"
    """Trials of an Optuna study (`hydra/sweeper=optuna`)."""
    tuned = "tuned"
    """Arms, each at its own tuned learning rate (`hydra/sweeper=tuned`)."""


_CHOICES = {SweepKind.grid: "checked", SweepKind.search: "optuna", SweepKind.tuned: "tuned"}
_CLASSES = {
    "CheckedSweeper": SweepKind.grid,
    "OptunaSweeper": SweepKind.search,
    "TunedSweeper": SweepKind.tuned,
}


def of(sweeper: Mapping[str, Any]) -> SweepKind:
    """Return the kind that a sweeper's config declares.

    Raises:
        ConfigError: it declares none, as the sweepers of other packages do, or another one than
            the sweeper that was chosen.
    """
    target, declared = str(sweeper.get("_target_")), sweeper.get("kind")
    expected = _CLASSES.get(target.rpartition(".")[2])
    if expected is None or not isinstance(declared, SweepKind):
        raise ConfigError(
            f"hydra.sweeper._target_={target} declares no hydra.sweeper.kind: choose one of "
            f"hydra/sweeper={', '.join(_CHOICES.values())}."
        )
    if declared is not expected:
        raise ConfigError(
            f"hydra.sweeper.kind={declared.value}: hydra/sweeper={_CHOICES[expected]} runs a sweep "
            f"of kind {expected.value}; choose hydra/sweeper={_CHOICES[declared]} and leave "
            "hydra.sweeper.kind out."
        )
    return expected
