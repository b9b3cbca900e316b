"""Schema of `trainer`: the length of training, the optimiser and the batch sizes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.config.value_checks import at_least, one_of

LR_SCHEDULES = ("constant", "linear", "cosine")
OPTIMIZERS = ("adamw", "adamw_8bit", "sgd")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
SELECTIONS = ("last", "best_validation")
RETENTIONS = ("none", "adapter", "last", "all")
# Maps fields of trl.SFTConfig to the keys of this project that set them.
OWN_KEYS = {
    **dict.fromkeys(("bf16", "bf16_full_eval"), "trainer.precision=bf16"),
    **dict.fromkeys(("fp16", "fp16_full_eval"), "trainer.precision=fp16"),
    **dict.fromkeys(
        ("gradient_checkpointing", "activation_checkpointing"), "trainer.gradient_checkpointing"
    ),
    "optim": "trainer.optimizer",
    "lr_scheduler_type": "trainer.lr_scheduler_type",
    "warmup_steps": "trainer.warmup_steps",
    "weight_decay": "trainer.weight_decay",
    "max_grad_norm": "trainer.max_grad_norm",
    **dict.fromkeys(("logging_steps", "logging_first_step"), "trainer.logging_steps"),
    **dict.fromkeys(("eval_strategy", "eval_steps"), "trainer.eval_steps"),
    **dict.fromkeys(("save_strategy", "save_steps"), "trainer.save_steps"),
    "save_total_limit": "trainer.keep",
    **dict.fromkeys(
        ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"), "trainer.select"
    ),
    **dict.fromkeys(("use_cpu", "dataloader_pin_memory"), "hardware=cpu"),
}


@dataclass
class TrainerConfig:
    """Length, optimiser and batch sizes; null = from the model's recipe, then the hardware."""

    learning_rate: float | None = None
    """Peak learning rate."""
    lr_scheduler_type: str | None = None
    """Schedule after the warm-up: `constant`, `linear` or `cosine`."""
    warmup_steps: float | None = None
    """Steps in which the learning rate rises linearly from 0; below 1 a share of all steps."""
    num_train_epochs: float | None = None
    """Passes over the training rows; not together with max_steps."""
    max_steps: int | None = None
    """Optimiser steps; 0 evaluates the model (or `model.adapter`) without training."""
    batch_size: int | None = None
    """Rows per optimiser step (the effective batch)."""
    micro_batch_size: int | None = None
    """Rows per forward pass; must divide batch_size, the quotient is the gradient accumulation."""
    packing: bool = False
    """Concatenate the rows of a micro-batch instead of padding them; needs block-diagonal masks."""
    max_length: int | None = None
    """Longer rows are dropped and counted; null = the model's longest sequence."""
    optimizer: str | None = None
    """`adamw`, `adamw_8bit` (bitsandbytes) or `sgd`."""
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    """Gradient clipping threshold (L2 norm)."""
    precision: str | None = None
    """`auto` (fp32 on CPU; bf16 from compute capability 8.0, else fp16), `fp32`, `bf16`, `fp16`."""
    attention: str | None = None
    """`sdpa`, `eager` or `flash_attention_2` (needs flash-attn and a GPU of capability 8.0 or
    newer)."""
    gradient_checkpointing: bool | None = None
    """Recompute activations: less memory, a third more time; null = by the device's memory."""
    freeze_embeddings: bool | None = None
    """Full fine-tuning without the input embedding, and so without an output head that is tied to
    it; null = all weights are trained. Adapters never train the embedding."""
    eval_steps: int | None = None
    """Steps between validation losses; null = a fifth of the run."""
    save_steps: int | None = None
    """Steps between checkpoints; null = as eval_steps."""
    save_every_minutes: float | None = None
    """Also save a checkpoint when the last one is this old; null = by steps only."""
    logging_steps: int = 10
    select: str = "last"
    """Which weights are evaluated and kept: `last` or `best_validation`."""
    keep: str = "adapter"
    """What stays on disk when the run is finished: `none`, `adapter`, `last` checkpoint or
    `all`."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other field of trl.SFTConfig; names that TRL does not know are rejected."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            yield f"trainer.learning_rate={self.learning_rate}: must be above 0, for example 2e-4"
        for key, allowed in (
            ("lr_scheduler_type", LR_SCHEDULES),
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("attention", ATTENTIONS),
            ("select", SELECTIONS),
            ("keep", RETENTIONS),
        ):
            if getattr(self, key) is not None:
                yield from one_of(f"trainer.{key}", getattr(self, key), allowed)
        for key in ("batch_size", "micro_batch_size", "eval_steps", "save_steps"):
            yield from at_least(f"trainer.{key}", getattr(self, key), 1)
        for key in OWN_KEYS.keys() & self.extra.keys():
            yield f"trainer.extra.{key}={self.extra[key]}: set {OWN_KEYS[key]} instead"
        yield from at_least("trainer.logging_steps", self.logging_steps, 1)
        yield from at_least("trainer.max_length", self.max_length, 8)
        yield from at_least("trainer.max_steps", self.max_steps, 0)
        yield from at_least("trainer.weight_decay", self.weight_decay, 0)
        yield from self._warmup_problems()
        for key in ("num_train_epochs", "max_grad_norm", "save_every_minutes"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                yield f"trainer.{key}={value}: must be above 0"
        if self.num_train_epochs is not None and self.max_steps is not None:
            yield (
                f"trainer.num_train_epochs={self.num_train_epochs} and "
                f"trainer.max_steps={self.max_steps}: set one"
            )
        yield from self._batch_problems()

    def _warmup_problems(self) -> Iterator[str]:
        steps = self.warmup_steps
        if steps is not None and not (0 <= steps < 1 or (steps >= 1 and steps == int(steps))):
            yield (
                f"trainer.warmup_steps={steps}: must be a whole number of steps, or a share of "
                "all steps from 0 to below 1"
            )

    def _batch_problems(self) -> Iterator[str]:
        batch, micro = self.batch_size, self.micro_batch_size
        if batch and micro and batch > 0 and micro > 0 and batch % micro:
            yield (
                f"trainer.batch_size={batch} is not a multiple of "
                f"trainer.micro_batch_size={micro}: change one of them (their ratio is the "
                "number of accumulation steps)"
            )
