"""Fill values that the user left null, from the model's recipe, the hardware, then a fallback.

This is done here and not in YAML, because Hydra silently overwrites a value that a model's file
writes into `trainer` when the later group is composed.
"""

import dataclasses
from typing import Any

from experiments.config import compatibility, matching
from experiments.config.data_config import DataConfig
from experiments.config.lora_config import DEFAULT_ALPHA, LoraConfig
from experiments.config.model_config import ModelConfig
from experiments.config.schema import RunConfig
from experiments.errors import ConfigError

# Values of `trainer` fields that neither the user, nor the recipe, nor the hardware sets.
_FALLBACK: dict[str, Any] = {
    "learning_rate": 2e-4,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.0,
    "num_train_epochs": 3.0,
    "batch_size": 16,
    "micro_batch_size": 4,
    "optimizer": "adamw",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "precision": "auto",
}
# Fields that may stay null after the hardware: no limit, or known only once the device is.
_OPTIONAL_FIELDS = ("max_steps", "max_length", "attention", "gradient_checkpointing")
# Share of the rows in files that becomes the validation split, and also the test split.
_HELD_BACK_SHARE = 0.05


def resolve(run: RunConfig) -> RunConfig:
    """Return the run with every null in `trainer` and `lora` filled, and the origin of each value.

    Raises:
        ConfigError: a micro-batch size set by the user does not divide the batch size of the
            recipe, or two values are incompatible.
    """
    is_full = run.lora.method == "none"
    recipe = dataclasses.asdict(run.model.recipe)
    if is_full:
        recipe["learning_rate"] = recipe["full_learning_rate"]
    trainer_values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    length_set = run.trainer.num_train_epochs is not None or run.trainer.max_steps is not None
    length_in_recipe = recipe["num_train_epochs"] is not None or recipe["max_steps"] is not None
    for key in [*_FALLBACK, *_OPTIONAL_FIELDS]:
        value, origin = getattr(run.trainer, key), "set by you"
        is_length = key in ("num_train_epochs", "max_steps")
        if value is None and not (is_length and length_set):
            value, origin = recipe.get(key), f"recipe of model={run.model.label}"
        if value is None and not (is_length and (length_set or length_in_recipe)):
            value, reason = run.hardware.choice(key)
            origin = f"hardware={run.hardware.label}: {reason}"
            if value is None:
                value, origin = _FALLBACK.get(key), "default"
        trainer_values[key] = value
        if value is not None:
            origins[f"trainer.{key}"] = origin
    _fit_micro_batch(trainer_values, origins, configured=run.trainer.micro_batch_size)
    lora = run.lora if is_full else _resolve_lora(run, origins)
    trainer = dataclasses.replace(run.trainer, **trainer_values)
    data = _resolve_rows(run.data)
    resolved = dataclasses.replace(
        run, data=data, trainer=trainer, lora=lora, resolved_from=origins
    )
    if problems := list(compatibility.problems(resolved)):
        raise ConfigError("; ".join(problems) + ".")
    return resolved


def _resolve_rows(data: DataConfig) -> DataConfig:
    """Set default validation and test shares for rows of files, and leave out unnamed sources."""
    if data.source == "toolworld":
        return data
    if data.named is not None:
        data = dataclasses.replace(data, sources=data.mixed, named=None)
    validation, test = data.validation_share, data.test_share
    if test is None:
        elsewhere = data.test_sources or data.test_files or data.test_rows is not None
        test = 0.0 if elsewhere else _HELD_BACK_SHARE
    if validation is None:
        elsewhere = data.validation_files or data.validation_rows is not None
        validation = 0.0 if elsewhere else _HELD_BACK_SHARE
    return dataclasses.replace(data, validation_share=validation, test_share=test)


def _fit_micro_batch(
    trainer_values: dict[str, Any], origins: dict[str, str], *, configured: int | None
) -> None:
    """Shrink a default micro-batch size to the next divisor of the batch size."""
    batch, micro = trainer_values["batch_size"], trainer_values["micro_batch_size"]
    fitting = max(size for size in range(1, min(batch, micro) + 1) if batch % size == 0)
    if configured is None and fitting != micro:
        trainer_values["micro_batch_size"] = fitting
        origins["trainer.micro_batch_size"] += f", reduced from {micro} to divide {batch}"
    elif fitting != micro:
        raise ConfigError(
            f"trainer.micro_batch_size={micro} does not divide trainer.batch_size={batch} "
            f"({origins['trainer.batch_size']}): set trainer.batch_size to a multiple of {micro}."
        )


def _resolve_lora(run: RunConfig, origins: dict[str, str]) -> LoraConfig:
    lora = run.lora
    r, origins["lora.r"] = _rank(lora, run.model)
    alpha = lora.lora_alpha
    origins["lora.lora_alpha"] = "set by you" if alpha else f"lora.alpha_rule={lora.alpha_rule}"
    if alpha is None:
        alpha = {"const": DEFAULT_ALPHA, "r": r, "2r": 2 * r}[lora.alpha_rule]
    target_modules = lora.target_modules
    modules = target_modules if isinstance(target_modules, str) else sorted(target_modules)
    return dataclasses.replace(
        lora, r=r, match_params=None, lora_alpha=float(alpha), target_modules=modules
    )


def _rank(lora: LoraConfig, model: ModelConfig) -> tuple[int, str]:
    """Return the LoRA rank and where it came from."""
    if lora.r is not None:
        return lora.r, "set by you"
    if lora.match_params is not None:
        return matching.rank(lora, model), f"lora.match_params={lora.match_params}"
    if model.recipe.r is not None:
        return model.recipe.r, f"recipe of model={model.label}"
    return 16, "default"
