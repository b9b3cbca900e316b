"""Compose a config from the same overrides as on the command line, from any directory."""

from collections.abc import Sequence

from omegaconf import DictConfig

from experiments.config import choices, folders


def compose(overrides: Sequence[str]) -> DictConfig:
    """Return the config that train.py gets from the same overrides."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(folders.conf()), version_base="1.3"):
        return compose("config", choices.quoted(overrides))
