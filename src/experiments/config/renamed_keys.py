"""Config keys that were renamed: the answer to an old name, and the upgrade of old records.

A run's id is computed on the names that its keys had first (`with_first_names`), so that a renamed
key does not give a finished run another id.
"""

from collections.abc import Iterable, Mapping
from typing import Any

RENAMED = {
    "trainer.lr_schedule": "trainer.lr_scheduler_type",
    "trainer.warmup_share": "trainer.warmup_steps",
    "trainer.epochs": "trainer.num_train_epochs",
    "trainer.max_length_tokens": "trainer.max_length",
    "trainer.log_every_steps": "trainer.logging_steps",
    "trainer.eval_every_steps": "trainer.eval_steps",
    "trainer.save_every_steps": "trainer.save_steps",
    "lora.alpha": "lora.lora_alpha",
    "lora.dropout": "lora.lora_dropout",
    "lora.init": "lora.init_lora_weights",
    "lora.plus_ratio": "lora.loraplus_lr_ratio",
}
"""Maps each former key to its present name; the values are the arguments' names in TRL and PEFT."""

_RECIPE = "model.recipe."
_WARMUP_STEPS = "trainer.warmup_steps"


def new_name(key: str) -> str | None:
    """Return the present name of a former key, or None if there never was such a key.

    >>> new_name("trainer.epochs"), new_name("model.recipe.epochs"), new_name("trainer.seed")
    ('trainer.num_train_epochs', 'model.recipe.num_train_epochs', None)
    """
    if key.startswith(_RECIPE):
        new = RENAMED.get("trainer." + key.removeprefix(_RECIPE))
        return new and _RECIPE + new.rpartition(".")[2]
    return RENAMED.get(key)


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded config with the present names of its keys, those of the recipe too.

    >>> upgraded({"lora": {"alpha": 32.0, "r": 16}, "seed": 0})
    {'lora': {'lora_alpha': 32.0, 'r': 16}, 'seed': 0}
    """
    tree = _renamed(config, RENAMED)
    model = tree.get("model")
    if isinstance(model, Mapping) and isinstance(model.get("recipe"), Mapping):
        recipe = _renamed({"trainer": model["recipe"]}, RENAMED)["trainer"]
        tree["model"] = {**model, "recipe": recipe}
    return tree


def upgraded_overrides(overrides: Iterable[str]) -> list[str]:
    """Return recorded command-line overrides with the present names of their keys.

    >>> upgraded_overrides(["lora=qv", "trainer.epochs=1", "+lora.alpha=8"])
    ['lora=qv', 'trainer.num_train_epochs=1', '+lora.lora_alpha=8']
    """
    return [_upgraded_override(override) for override in overrides]


def with_first_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the names that its keys had first, for computing the run's id.

    `trainer.warmup_steps` keeps its name where it is a number of steps, which `warmup_share` could
    not express.
    """
    first_names = {new: old for old, new in RENAMED.items()}
    warmup = config.get("trainer", {}).get("warmup_steps")
    if warmup is not None and warmup >= 1:
        del first_names[_WARMUP_STEPS]
    return _renamed(config, first_names)


def _renamed(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Rename the keys of the groups; a key with the new name that is already there wins."""
    tree = dict(config)
    for group, values in config.items():
        if isinstance(values, Mapping):
            tree[group] = {
                names.get(f"{group}.{key}", f".{key}").rpartition(".")[2]: value
                for key, value in values.items()
            }
    return tree


def _upgraded_override(override: str) -> str:
    key, separator, value = override.partition("=")
    prefix = key[: len(key) - len(key.lstrip("+~"))]
    name = new_name(key.removeprefix(prefix))
    return f"{prefix}{name}{separator}{value}" if name else override
