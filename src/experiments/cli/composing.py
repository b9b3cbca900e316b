"""Compose the config that train.py gets from the same overrides."""

import os
from pathlib import Path

from omegaconf import DictConfig

from experiments.errors import ConfigError


def compose(overrides: list[str]) -> DictConfig:
    """Return the config that train.py gets from the same overrides."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose("config", overrides)


def config_folder() -> Path:
    """Return the folder of the config files.

    Raises:
        ConfigError: the project's folder has none.
    """
    root = Path(os.environ.get("EXPERIMENTS_ROOT", ".")).resolve()
    folder = root / "conf"
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"there is no conf/config.yaml in {root}: run it in the project's folder."
        )
    return folder
