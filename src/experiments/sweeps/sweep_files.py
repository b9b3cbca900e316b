"""The folder of a sweep, and where `sweeps=NAME` would not run the sweep of that file."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.errors import ConfigError

_BASE = "_base"
_OWN_FOLDER = re.compile(r"\+*hydra\.sweep\.dir=")


def folder(master: DictConfig) -> Path:
    """Return the folder of a sweep, from its composed config with the `hydra` node.

    It is `hydra.sweep.dir` for a sweep with a file or with a folder that the user named, and
    otherwise `outputs/grid_HASH`, with a hash of the overrides.
    """
    hydra = master.hydra
    named = any(_OWN_FOLDER.match(str(override)) for override in hydra.overrides.hydra)
    if named or hydra.runtime.choices.get("sweeps") is not None:
        return Path(str(hydra.sweep.dir))
    return Path("outputs") / sweep_name(hydra.overrides.task)


def sweep_name(overrides: Sequence[str]) -> str:
    """Return the name of a sweep without a file, from a hash of its overrides in any order.

    >>> sweep_name(["seed=0,1", "lora=qv"]) == sweep_name(["lora=qv", "seed=0,1"])
    True
    """
    text = "\n".join(sorted(overrides))
    return "grid_" + hashlib.sha256(text.encode()).hexdigest()[:10]


def refuse_unfound(cfg: DictConfig, chosen: str | None) -> None:
    """Check that `sweeps=NAME` chose the file of a sweep.

    Without a folder of sweeps in the search path, Hydra takes the name for the value of a key.

    Args:
        cfg: the composed config.
        chosen: the file of the group `sweeps` that Hydra chose; None without one.

    Raises:
        ConfigError: there is no such file, or it is the common part of the sweeps beside it.
    """
    name = cfg.get("sweeps")
    if name is not None and chosen is None:
        raise ConfigError(
            f"sweeps={name}: there is no folder sweeps/ in {Path.cwd()}: run the command in the "
            "project's folder, or name that folder in EXPERIMENTS_ROOT."
        )
    if chosen is not None and Path(chosen).name == _BASE:
        raise ConfigError(
            f"sweeps={chosen} is the common part of the sweeps in {Path(chosen).parent} and varies "
            "nothing: choose one of them."
        )


def refuse_without_multirun(cfg: DictConfig, hydra: Any) -> None:
    """Check that a single run has no sweep.

    Args:
        cfg: the composed config.
        hydra: the config's `hydra` node.

    Raises:
        ConfigError: a sweep was chosen or described, but `-m` is missing.
    """
    chosen = hydra.runtime.choices.get("sweeps")
    refuse_unfound(cfg, chosen)
    if chosen is not None or hydra.sweeper.params:
        raise ConfigError("sweeps=... describes many runs: add -m (--multirun).")
