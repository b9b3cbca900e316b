"""Compose the configs of a sweep's jobs, each once.

Hydra takes a quarter of a second for a config, most of it to choose and merge the files. Jobs that
choose the same files share this work: their values are set in copies of one composed config.
"""

import copy
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments import config
from experiments.config import choices
from experiments.errors import ConfigError

# The parts of the `hydra` node that a job may set without an effect on which files are chosen.
_HYDRA_VALUES = ("hydra.sweep.", "hydra.sweeper.")


class Composer:
    """Composes jobs from the config of their sweep."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._parser = OverridesParser.create()
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._is_group: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config of a job, including its `hydra` node, as Hydra composes it.

        Raises:
            ConfigError: the config cannot be composed.
        """
        try:
            overrides = choices.quoted(overrides)
            parsed = self._parser.parse_overrides(overrides)
            values = [override for override in parsed if self._is_value(override)]
            files = [override for override in parsed if override not in values]
            if not any(_overlap(override, other) for override in values for other in files):
                composed = copy.deepcopy(
                    self._shared(tuple(str(override.input_line) for override in files))
                )
                try:
                    _set_values(composed, values)
                except OmegaConfBaseException:
                    pass  # composed below by Hydra, whose error names the override
                else:
                    _describe(composed, self._master, parsed)
                    return composed
            return self._loader.load_sweep_config(self._master, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(config.explain(error)) from error

    def _shared(self, overrides: tuple[str, ...]) -> DictConfig:
        """Return the config of the overrides that choose files or add keys, composed once."""
        if overrides not in self._composed:
            composed = self._loader.load_sweep_config(self._master, list(overrides))
            self._composed[overrides] = composed
        return self._composed[overrides]

    def _is_value(self, override: Override) -> bool:
        """Return whether an override only sets the value of a key that exists."""
        key = override.key_or_group
        if _changes_keys(override) or override.package is not None or "/" in key:
            return False
        if key.startswith("hydra."):
            return key.startswith(_HYDRA_VALUES)
        if key not in self._is_group:
            hydra = self._master.hydra
            options = self._loader.get_group_options(
                key,
                config_name=hydra.job.config_name,
                overrides=OmegaConf.to_container(hydra.overrides.hydra),  # type: ignore[arg-type]
            )
            self._is_group[key] = bool(options)
        return not self._is_group[key]


def _overlap(override: Override, other: Override) -> bool:
    """Return whether two overrides set the same key or one within the other: their order counts."""
    key, other_key = f"{override.key_or_group}.", f"{other.key_or_group}."
    chooses = isinstance(other.value(), str) and not _changes_keys(other)  # a config file
    return not chooses and (key.startswith(other_key) or other_key.startswith(key))


def _changes_keys(override: Override) -> bool:
    return override.is_add() or override.is_force_add() or override.is_delete()


def _set_values(composed: DictConfig, values: Sequence[Override]) -> None:
    for override in values:
        OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)


def _describe(composed: DictConfig, master: DictConfig, parsed: Sequence[Override]) -> None:
    """Write the job's overrides into its `hydra` node, as Hydra does."""
    hydra = composed.hydra
    task_overrides = [override for override in parsed if not override.is_hydra_override()]
    naming = hydra.job.config.override_dirname
    named = sorted(
        str(o.input_line) for o in task_overrides if o.key_or_group not in naming.exclude_keys
    )
    sweep_overrides = OmegaConf.to_container(master.hydra.overrides.hydra, resolve=False)
    assert isinstance(sweep_overrides, list)
    with open_dict(composed):
        hydra.overrides.task = [override.input_line for override in task_overrides]
        hydra.overrides.hydra = [
            *sweep_overrides,
            *(override.input_line for override in parsed if override.is_hydra_override()),
        ]
        hydra.job.override_dirname = naming.item_sep.join(named).replace("=", naming.kv_sep)
