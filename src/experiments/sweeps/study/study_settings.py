"""The settings of a study, and the check that a stored study belongs to the same search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.analysis.statistics import Direction
from experiments.errors import ConfigError
from experiments.sweeps.study import space as spaces
from experiments.sweeps.study import specs
from experiments.sweeps.study.space import Parameters, Space


@dataclass(frozen=True)
class Settings:
    """The search space, objectives, size and storage of a study."""

    sweep_dir: Path
    name: str
    space: Space
    objectives: Mapping[str, Direction]
    """Direction of each score: `minimize` or `maximize`."""
    n_trials: int
    storage: str | None = None
    sampler: specs.Sampler = field(default_factory=specs.Tpe)
    pruner: specs.Pruner | None = None
    seed: int = 0
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Config keys that are the same in all trials; a study cannot be resumed with others."""
    retry_oom: bool = False


@dataclass(frozen=True)
class Asked:
    """A trial to run now."""

    number: int
    parameters: Parameters
    resumed: bool = False
    """Whether a worker that has died had started it."""


def refuse_another_search(settings: Settings, study: Any, where: str) -> None:
    """Check that a study's space, objectives and fixed keys are those of this search.

    A new study stores them.

    Raises:
        ConfigError: the study belongs to another search; the differing keys are named.
    """
    search = {
        "space": spaces.describe(settings.space),
        "objectives": dict(settings.objectives),
        "fixed": dict(sorted(settings.fixed.items())),
    }
    stored = study.user_attrs.get("search")
    if stored is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("search", search)
        return
    if stored != search:
        reason = _differences(stored, search) if stored else "it was not created by this program"
        raise ConfigError(
            f"the study '{settings.name}' in {where} is of another search ({reason}): name another "
            "with hydra.sweeper.study_name=NAME, or another folder with hydra.sweep.dir=DIR."
        )


def _differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Describe up to three keys in which two searches differ, with both values."""
    differences = []
    for part in current:
        before, after = dict(stored.get(part) or {}), current[part]
        for key in sorted({*before, *after}):
            if before.get(key) != after.get(key):
                differences.append(
                    f"{key}: {before.get(key, 'not set')} then, {after.get(key)} now"
                )
    more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
    return "; ".join(differences[:3]) + more
