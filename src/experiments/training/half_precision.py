"""Keep trained weights in fp32, record skipped steps and undo autocast after training.

Results must not depend on what a library changes in a model. TRL casts the adapters of a 4-bit base
to bf16; LoRA and QLoRA would then differ in more than the base, and a gradient scaler on a GPU
without bfloat16 cannot unscale bf16 gradients. accelerate leaves autocast around the forward pass
of a model that it has trained, whereas the base model was evaluated without it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.runtime.progress import log
from experiments.training import accelerate_private

_SKIPPED = "skipped_step"


def trained_values(model: Any) -> list[tuple[Any, Any]]:
    """Return the trained parameters and their values, which creating a trainer may round.

    TRL casts the adapters of a 4-bit base to bf16.
    """
    return [(p, p.data) for p in model.parameters() if p.requires_grad]


def restore_values(trainer: Any, exact_values: Sequence[tuple[Any, Any]]) -> None:
    """Restore the exact values in a new trainer, and add a callback that records skipped steps."""
    for parameter, values in exact_values:
        if parameter.dtype != values.dtype:
            parameter.data = values
    trainer.add_callback(_counter(trainer.accelerator))


def skipped_steps(history: Sequence[dict[str, Any]]) -> list[int]:
    """Return the steps in the trainer's log that were skipped because gradients overflowed.

    >>> skipped_steps([{"step": 1, "skipped_step": 1}, {"step": 2, "loss": 0.5}])
    [1]
    """
    return sorted({int(entry["step"]) for entry in history if _SKIPPED in entry})


@contextlib.contextmanager
def outside_autocast(model: Any) -> Iterator[None]:
    """Run a model without autocast inside the block, although it is being trained with it."""
    original_forward = accelerate_private.original_forward(model)
    if original_forward is None:
        yield
        return
    autocast_forward, model.forward = model.forward, original_forward
    try:
        yield
    finally:
        model.forward = autocast_forward


def leave_autocast(model: Any) -> None:
    """Remove autocast from a trained model, so that it is evaluated like the base model."""
    original_forward = accelerate_private.original_forward(model)
    if original_forward is not None:
        model.forward = original_forward
        accelerate_private.forget_original_forward(model)


def _counter(accelerator: Any) -> Any:
    """Return a callback that records a skipped step in the trainer's log.

    The scaler skips a step whose gradients overflow and lowers its scale. This is common in the
    first steps of a run, because the scale starts at 65,536. Only the scale shows it: a fused
    optimiser skips the step by itself, and accelerate then counts the step as executed. The log is
    part of each checkpoint, so a resumed run includes the steps skipped before it.
    """
    from transformers import TrainerCallback

    class Skipped(TrainerCallback):  # type: ignore[misc]
        scale = 0.0

        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            if accelerator.scaler is not None:
                self.scale = accelerator.scaler.get_scale()

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if accelerator.scaler is not None and accelerator.scaler.get_scale() < self.scale:
                step = state.global_step + 1
                state.log_history.append({"step": step, _SKIPPED: 1})
                log(f"step {step:>4} skipped: its gradients overflowed in fp16")

    return Skipped()
