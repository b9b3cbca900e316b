"""Find `conf/`, `sweeps/` and `claims/`: the user's own first, then those that are installed.

The user's folders are in the working directory, or in the folder that EXPERIMENTS_ROOT names. A
wheel carries the installed ones in `experiments/shipped/`; in a checkout they are in its root.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "shipped"
_VARIABLE = "EXPERIMENTS_ROOT"


def root() -> Path:
    """Return the folder that may contain the user's own `conf/`, `sweeps/` and `claims/`.

    Raises:
        ConfigError: EXPERIMENTS_ROOT names no folder.
    """
    path = os.environ.get(_VARIABLE) or "."
    if not Path(path).is_dir():
        raise ConfigError(f"{_VARIABLE}={path}: there is no such folder; correct or unset it.")
    return Path(path).resolve()


def shipped() -> Path:
    """Return the folder with the installed `conf/`, `sweeps/` and `claims/`."""
    return checkout() or _INSTALLED


def checkout() -> Path | None:
    """Return the root of the checkout whose code is running; None for an installed wheel."""
    return None if _INSTALLED.is_dir() else _PACKAGE.parents[1]


def conf() -> Path:
    """Return the installed folder of config groups, which has every group."""
    return shipped() / "conf"


def all_of(name: str) -> list[Path]:
    """Return the folders of a name (`conf`, `sweeps` or `claims`) in the order of precedence.

    Raises:
        ConfigError: EXPERIMENTS_ROOT names no folder, or claims are where they were before.
    """
    if name == "claims" and (former := root() / "conf" / name).is_dir():
        raise ConfigError(f"{former} was renamed to {root() / name}: move the folder there.")
    candidates = dict.fromkeys((root() / name, (shipped() / name).resolve()))
    return [folder for folder in candidates if folder.is_dir()]


def files(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the YAML files of some folders by name; of equal names, the one in the first folder.

    >>> files([])
    {}
    """
    paths = [path for folder in reversed(folders) for path in folder.glob("*.yaml")]
    return dict(sorted({path.stem: path for path in paths}.items()))
