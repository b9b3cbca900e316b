"""Build the arguments of TRL's trainer from the config and the step plan."""

from dataclasses import fields
from typing import Any

from experiments.config import TrainerConfig
from experiments.config.trainer_config import OWN_KEYS
from experiments.errors import ConfigError, did_you_mean
from experiments.training.checkpoints import CHECKPOINTS
from experiments.training.steps import StepPlan
from experiments.training.task import Task

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit", "sgd": "sgd"}


def check_extra(trainer: TrainerConfig) -> None:
    """Refuse keys of `trainer.extra` that TRL does not know or that this project sets itself.

    Raises:
        ConfigError: names the key.
    """
    if not trainer.extra:
        return
    from trl import SFTConfig

    allowed = sorted({f.name for f in fields(SFTConfig)} - set(_owned_arguments()) - set(OWN_KEYS))
    for key in trainer.extra:
        if key not in allowed:
            raise ConfigError(f"trainer.extra.{key}: {did_you_mean(key, allowed)}.")


def _owned_arguments() -> dict[str, Any]:
    """Return the arguments of SFTConfig that do not depend on a config key."""
    return {
        "output_dir": None,
        "report_to": "none",
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": True,
        # The data set lists the rows of the complete run in their order, as one epoch.
        "train_sampling_strategy": "sequential",
        "disable_tqdm": True,
        # Otherwise the Trainer replaces a NaN in its log by recent losses.
        "logging_nan_inf_filter": False,
        "auto_find_batch_size": False,
        "per_device_train_batch_size": None,
        "gradient_accumulation_steps": None,
        "max_steps": None,
        "learning_rate": None,
        "seed": None,
        "bf16": None,
        "fp16": None,
        # Mean over the tokens of all processes, not a mean of their means.
        "average_tokens_across_devices": True,
        # Every adapter is used in every step; looking for unused ones costs a pass over all of
        # them.
        "ddp_find_unused_parameters": False,
        # TRL's packing truncates and joins rows; `trainer.packing` does neither.
        "packing": False,
        "padding_free": False,
    }


def _validates_regularly(task: Task) -> bool:
    """Return whether the validation loss is measured every `eval_steps`, not at stated steps."""
    at_stated_steps = task.run.eval.validation_steps is not None
    return bool(task.data.validation) and (
        not at_stated_steps or task.run.trainer.eval_steps is not None
    )


def arguments(task: Task, steps: StepPlan) -> Any:
    """Return the SFTConfig of a task."""
    from trl import SFTConfig

    run, base = task.run, task.base
    trainer = run.trainer
    best = trainer.select == "best_validation"
    return SFTConfig(
        **_owned_arguments()
        | {
            "output_dir": str(task.folder / CHECKPOINTS),
            "per_device_train_batch_size": steps.micro_batch_size,
            "gradient_accumulation_steps": steps.accumulation,
            "max_steps": steps.steps,
            "learning_rate": trainer.learning_rate,
            "seed": run.seed,
            "bf16": base.precision.name == "bf16",
            "fp16": base.precision.name == "fp16",
        },
        use_cpu=base.precision.device == "cpu",
        dataloader_pin_memory=base.precision.device != "cpu",
        lr_scheduler_type=_SCHEDULES[str(trainer.lr_scheduler_type)],
        warmup_steps=steps.warmup_steps,
        optim=_OPTIMIZERS[str(trainer.optimizer)],
        weight_decay=trainer.weight_decay,
        max_grad_norm=trainer.max_grad_norm,
        activation_checkpointing=base.precision.gradient_checkpointing,
        logging_steps=trainer.logging_steps,
        logging_first_step=True,
        eval_strategy="steps" if _validates_regularly(task) else "no",
        eval_steps=steps.eval_steps,
        save_strategy="steps",
        save_steps=steps.save_steps,
        save_total_limit=None if trainer.keep == "all" else 1,
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if best else None,
        greater_is_better=False if best else None,
        # The loss is that of the tokens; the load-balancing loss of experts is added only on
        # request.
        **{"router_aux_loss_coef": 0.0, **trainer.extra},
    )
