"""Turn a composed config into one typed, checked and resolved run.

Everything that reads a config (the command line, the sweeper's pre-flight check, the tests and the
report) calls ``load``. The module imports no heavy library.
"""

import copyreg
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config import choices, renamed_keys
from experiments.config.eval_config import EvalConfig
from experiments.config.explaining import explain
from experiments.config.resolution import resolve
from experiments.config.schema import RunConfig
from experiments.config.tokens import refuse_in_values
from experiments.errors import ConfigError

# Keys that control how a run is executed, not what it computes. Changing them does not change the
# run's id.
EXECUTION_KEYS = (
    "name",
    "rerun",
    "resume",
    "resume_from",
    "retry_oom",
    "tracker",
    "budget",
    "hub",
    "plan",
    "resolved_from",
    "trainer.keep",
    "trainer.save_every_minutes",
    "data.cache",
    "eval.first_look",
    # Properties of the GPU. The values derived from them are in `trainer`, and the device is part
    # of the run's id.
    "hardware.label",
    "hardware.compute_capability",
    "hardware.memory_gib",
    "hardware.peak_tflops",
    "hardware.memory_gbs",
)


# Hydra's config store is a singleton, so a copy of it is the store itself. Hydra copies all of it
# for each composition and for each of the 85 look-ups of `--help` (1.2 s with this schema). Nothing
# writes to the store after the imports, and it returns copies of its nodes, so sharing is safe.
copyreg.pickle(ConfigStore, lambda store: (ConfigStore.instance, ()))
_store = ConfigStore.instance()
_store.store(name="run_schema", node=RunConfig)
for _group in ("lora", "trainer"):  # keys of PEFT and TRL: checked after these are imported
    OmegaConf.set_struct(_store.repo["run_schema.yaml"].node[_group].extra, False)


def load(cfg: DictConfig) -> RunConfig:
    """Turn a composed config into a checked run with every null resolved.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or is out of range; one message
            names all out-of-range values.
    """
    if cfg.get("resolved_from"):
        raise ConfigError("resolved_from is set by the program: remove it from the config.")
    try:
        # Convert to plain data first: a typed node keeps keys that were added to it with
        # `+key=value`.
        plain = OmegaConf.to_container(cfg, resolve=True)
        refuse_in_values(plain)
        merged = OmegaConf.merge(_schema(), plain)
        assert isinstance(merged, DictConfig)
        run = OmegaConf.to_object(choices.moved(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(run, RunConfig)
    return resolve(run)


@functools.cache
def _schema() -> DictConfig:
    """Return the schema as a config; `OmegaConf.merge` copies it."""
    schema: DictConfig = OmegaConf.structured(RunConfig)
    return schema


def default_of(key: str) -> Any:
    """Return the default of a key such as `trainer.max_steps`, before recipes; None if unknown."""
    return OmegaConf.select(_schema(), key)


def canonical(run: RunConfig) -> dict[str, Any]:
    """Return the resolved run as plain data, without the keys that only control its execution.

    Also left out are the recipe, whose values are already in `trainer` and `lora`; the geometry and
    the size of a download, which describe the weights that the run names; and `lora.match_params`,
    which is resolved to a rank.
    """
    tree = dataclasses.asdict(run)
    omitted = ("model.recipe", "model.geometry", "model.download_mb", "lora.match_params", "sweeps")
    for key in (*EXECUTION_KEYS, *omitted, *choices.KEYS):
        *parents, leaf = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch[parent]
        del branch[leaf]
    return tree


def without_nulls(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the keys that are null, at any depth."""
    return {
        key: without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }


def run_id(run: RunConfig) -> str:
    """Return the first 12 hex digits of the sha256 of the canonical JSON of the run.

    Keys that are null are left out, so that adding a key that is off by default does not change
    existing ids; nor does renaming a key, whose first name is used. The choice of metrics does not
    change the id either: the scores of an added metric are computed from the answers stored with a
    finished run.
    """
    tree = canonical(run)
    if tree["eval"]["metrics"]:  # the choice of metrics does not change the training
        tree["eval"]["metrics"] = EvalConfig().metrics
    first_names = renamed_keys.with_first_names(without_nulls(tree))
    canonical_json = json.dumps(first_names, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical_json.encode()).hexdigest()[:12]
