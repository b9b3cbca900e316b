"""Refuse access tokens in arguments, config files and values, before they are written to disk.

Hydra writes a config to disk before a run reads it, and a record contains the command line, so
arguments and files are searched before anything is composed. A token that is found is never
printed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.config import folders
from experiments.errors import ConfigError

ENVIRONMENT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_TOKEN_KEYS = (
    *("token", "hub_token", "hf_token", "access_token", "auth_token", "push_to_hub_token"),
    *(name.lower() for name in ENVIRONMENT),
)
# Hub tokens start like this; 16 letters are fewer than in any token, but more than in a name.
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_MIN_LENGTH = 8
_FOLDER_OPTIONS = ("-cp", "--config-path", "-cd", "--config-dir")
_ADVICE = (
    "a token in a config would be written to .hydra/, logs and records; remove it, and set "
    "HF_TOKEN or run `hf auth login` instead."
)


def refuse_in_arguments(arguments: Sequence[str]) -> None:
    """Refuse a token in the arguments, or in the config files that they compose.

    Raises:
        ConfigError: names the key or the file, never the token.
    """
    for argument in arguments:
        key, separator, _ = argument.lstrip("+~").partition("=")
        copies_token = key.endswith("env_copy") and any(name in argument for name in ENVIRONMENT)
        sets_token = bool(separator) and key.rpartition(".")[2].lower() in _TOKEN_KEYS
        if sets_token or copies_token or holds_token(argument):
            raise ConfigError(f"{key if separator else 'an argument'}: {_ADVICE}")
    for file in _config_files(arguments):
        text = file.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if holds_token(line):
                raise ConfigError(f"{file}, line {number}: {_ADVICE}")


def refuse_in_values(tree: Any, key: str = "") -> None:
    """Refuse a token among the values of a config, for example from `${oc.env:HF_TOKEN}`.

    Raises:
        ConfigError: names the key, never the token.
    """
    if isinstance(tree, dict):
        for name, value in tree.items():
            refuse_in_values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for value in tree:
            refuse_in_values(value, key)
    elif isinstance(tree, str) and holds_token(tree):
        raise ConfigError(f"{key}: {_ADVICE}")


def holds_token(text: str) -> bool:
    """Return whether a text contains what looks like a hub token, or a token of the environment.

    >>> holds_token("hf_" + "a" * 34), holds_token("hf_token")
    (True, False)
    """
    return bool(_TOKEN.search(text)) or any(secret in text for secret in secrets())


def secrets() -> list[str]:
    """Return the tokens in the environment variables."""
    values = (os.environ.get(name, "").strip() for name in ENVIRONMENT)
    return [value for value in values if len(value) >= _MIN_LENGTH]


def _config_files(arguments: Sequence[str]) -> Iterator[Path]:
    searched_folders = [*folders.all_of("conf"), *folders.all_of("sweeps")]
    for index, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in _FOLDER_OPTIONS:
            searched_folders.append(
                Path(value if separator else "".join(arguments[index + 1 : index + 2]))
            )
    for folder in searched_folders:
        yield from sorted(folder.rglob("*.yaml")) if folder.is_dir() else ()
