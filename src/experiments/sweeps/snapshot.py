"""Snapshot of a sweep at its start: its jobs' composed configs and the hashes of the code.

Hydra composes each job once to check it and again when it starts, so editing a YAML file would
change the later jobs of a running sweep. Therefore sweepers write the configs that they have
checked to `SWEEP_DIR/.frozen/`, and launchers run these.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from experiments import records
from experiments.config import renamed_keys
from experiments.errors import RecordError
from experiments.records import provenance

FOLDER = ".frozen"
_CODE = "code.json"


def write(sweep_dir: Path, overrides: Sequence[str], cfg: DictConfig) -> None:
    """Store a job's composed config, with its `hydra` node, keyed by the job's overrides.

    Raises:
        RecordError: the sweep's folder cannot be written.
    """
    tree = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    _write(_file(sweep_dir, overrides), {"overrides": sorted(overrides), "config": tree})


def read(sweep_dir: Path, overrides: Sequence[str]) -> DictConfig | None:
    """Return the stored config for these overrides, in any order; None if there is none.

    Raises:
        RecordError: the file is incomplete.
    """
    stored = _read(_file(sweep_dir, overrides))
    if stored is None:
        return None
    tree = _upgraded(stored["config"])
    hydra = tree.pop("hydra", None)
    cfg = OmegaConf.create(tree)
    assert isinstance(cfg, DictConfig)
    if hydra is not None:  # Hydra accepts only its own config class here
        node = OmegaConf.structured(HydraConf)
        OmegaConf.set_struct(node, False)  # the node has groups that the class does not define
        cfg["hydra"] = OmegaConf.merge(node, hydra)
        for key in set(node) - set(hydra):  # a composed config has no defaults list
            del cfg["hydra"][key]
    OmegaConf.set_struct(cfg, True)
    return cfg


def read_all(sweep_dir: Path) -> list[DictConfig]:
    """Return every stored config, including its `hydra` node.

    Raises:
        RecordError: a file is incomplete.
    """
    configs = []
    for file in sorted((sweep_dir / FOLDER).glob("*.json")):
        stored = _read(file)
        if file.name != _CODE and stored is not None:
            configs.append(OmegaConf.create(_upgraded(stored["config"])))
    return configs


def _upgraded(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a stored config with the present names of renamed keys."""
    tree = renamed_keys.upgraded(tree)
    overrides = (tree.get("hydra") or {}).get("overrides") or {}
    if "task" in overrides:
        overrides["task"] = renamed_keys.upgraded_overrides(overrides["task"])
    return tree


def write_code(sweep_dir: Path) -> None:
    """Store the hashes of the code that this process has imported.

    Raises:
        RecordError: the sweep's folder cannot be written.
    """
    _write(sweep_dir / FOLDER / _CODE, _code(provenance.code_identity()))


def changed_code(sweep_dir: Path) -> list[str]:
    """Return the names of the code parts on disk that have changed since the sweep's start.

    Empty if nothing has changed or no snapshot of the code was stored.
    """
    stored = _read(sweep_dir / FOLDER / _CODE)
    on_disk = provenance.code_identity.__wrapped__()  # the cached value is of the imported code
    if stored is None:
        return []
    current = _code(on_disk)
    # Ignore metrics added since the start: none of the sweep's runs uses them.
    stored_metrics = stored.get("scoring_code") or {}
    current["scoring_code"] = {
        k: v for k, v in current["scoring_code"].items() if k in stored_metrics
    }
    return provenance.differences(stored, current)


def _code(identity: dict[str, Any]) -> dict[str, Any]:
    return {**identity, "libraries": provenance.libraries()}


def _file(sweep_dir: Path, overrides: Sequence[str]) -> Path:
    key = "\n".join(sorted(overrides))
    return sweep_dir / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _write(path: Path, tree: dict[str, Any]) -> None:
    """Write under a lock, because several workers may store the same jobs at the same time."""
    from filelock import FileLock

    content = (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if not path.is_file() or path.read_bytes() != content:
                records.write_atomically(path, content)
    except (OSError, RecordError) as error:
        cause = error.__cause__ if isinstance(error, RecordError) else error
        reason = getattr(cause, "strerror", None) or str(error)
        raise RecordError(
            f"the sweep's folder {path.parent.parent} cannot be written ({reason}): make room or "
            "choose another with hydra.sweep.dir=DIR."
        ) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} is incomplete ({error}): remove it and rerun the same command."
        ) from error
    return tree
