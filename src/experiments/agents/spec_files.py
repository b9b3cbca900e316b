"""Read a YAML file as a dataclass whose `name` is the file's name."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from experiments.errors import ConfigError, did_you_mean

T = TypeVar("T")


def read(path: Path, spec_type: type[T], noun: str) -> T:
    """Return the file's keys as an object of the type.

    Args:
        path: the file; its stem is the `name`.
        spec_type: a dataclass with a field `name` and the keys that the file may have.
        noun: what the object describes, for errors: `server`, `agent`.

    Raises:
        ConfigError: the file cannot be read, is no mapping, or a key is unknown or missing.
    """
    made_of: Any = spec_type
    try:
        given: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise ConfigError(f"{path} is not a mapping of keys: see docs/agents.md.")
        names = [field.name for field in fields(made_of) if field.name != "name"]
        for key in given:
            if key not in names:
                raise ConfigError(f"{path}: key {key!r}: {did_you_mean(str(key), names)}.")
        missing = [name for name in _required(made_of) if name not in given]
        if missing:
            raise ConfigError(f"{path}: {', '.join(missing)} must be set: see docs/agents.md.")
        spec: T = made_of(name=path.stem, **given)
        return spec
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a spec of the {noun}: {error}.") from error


def _required(spec_type: Any) -> list[str]:
    """Return the keys without a default."""
    return [
        field.name
        for field in fields(spec_type)
        if field.name != "name" and field.default is MISSING and field.default_factory is MISSING
    ]
