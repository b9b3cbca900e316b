"""Arguments of the commands that compose a config as train.py does."""

import argparse
from pathlib import Path

from experiments.config import choices
from experiments.errors import ConfigError


def add(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the arguments of a command that composes a config as train.py does."""
    parser.add_argument("overrides", nargs="*", help=f"as for train.py: {example}")
    add_config_dir(parser)


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """Add Hydra's `-cd`."""
    parser.add_argument(
        "-cd", "--config-dir", type=Path, metavar="DIR", help="another folder of config groups"
    )


def overrides_of(arguments: argparse.Namespace) -> list[str]:
    """Return the overrides of a command, in which `-cd` is one of them.

    Raises:
        ConfigError: there is no such folder, or an override cannot be used.
    """
    overrides: list[str] = arguments.overrides
    folder: Path | None = arguments.config_dir
    if folder and any(text.lstrip("+").startswith("hydra.searchpath=") for text in overrides):
        raise ConfigError("--config-dir and hydra.searchpath: set one of them.")
    return choices.quoted([*overrides, *search_path(folder)])


def search_path(folder: Path | None) -> list[str]:
    """Return the override that makes Hydra search a folder of config groups, if there is one.

    Raises:
        ConfigError: there is no such folder.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {folder}: there is no such folder.")
    return [f"hydra.searchpath=['file://{folder.resolve()}']"]
