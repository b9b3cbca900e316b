"""The settings of a study, and the check that a stored study belongs to the same search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments import config
from experiments.analysis.statistics import Direction
from experiments.config import renamed_keys
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
class StudyTrial:
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
    if stored is not None:
        _refuse_former_names(stored, settings.name, where)
        stored = _upgraded(stored, search)
    if stored != search:
        reason = _differences(stored, search) if stored else "it was not created by this program"
        raise ConfigError(
            f"the study '{settings.name}' in {where} is of another search ({reason}): name another "
            "with hydra.sweeper.study_name=NAME, or another folder with hydra.sweep.dir=DIR."
        )


def _refuse_former_names(stored: Mapping[str, Any], name: str, where: str) -> None:
    """Refuse a study whose trials have parameters with former names, which Optuna cannot rename."""
    for key in stored.get("space") or {}:
        if new_name := renamed_keys.new_name(key):
            raise ConfigError(
                f"the study '{name}' in {where} searched {key}, which was renamed to {new_name}: "
                "its runs stay readable; search on with a new study, hydra.sweeper.study_name=NAME."
            )


def _upgraded(stored: Mapping[str, Any], search: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored search with the present names of its fixed keys and with those added since.

    A key that did not exist then had no effect, so its default value is no difference.
    """
    fixed = {renamed_keys.new_name(k) or k: v for k, v in (stored.get("fixed") or {}).items()}
    added = {
        key: value
        for key, value in search["fixed"].items()
        if key not in fixed and value == str(config.default_of(key))
    }
    return {**stored, "fixed": dict(sorted((fixed | added).items()))}


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
