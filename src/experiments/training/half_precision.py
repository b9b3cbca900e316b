"""Training in half precision: fp32 weights to train, steps that overflowed, the forward pass.

The numbers of a run must not depend on what a library does to a model on the way. TRL turns the
adapters of a 4-bit base into bf16, which would make LoRA and QLoRA differ in more than the base
and which a gradient scaler on a card without bfloat16 cannot unscale; accelerate leaves autocast
around the forward pass of a model that it has trained, and the untrained base was scored without.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.runtime.progress import say

_SKIPPED = "skipped_step"
# Where accelerate keeps the forward pass that it wraps.
_FORWARD = "_original_forward"


def trained_values(model: Any) -> list[tuple[Any, Any]]:
    """Return what is trained with its values, which the building of a trainer may round to bf16."""
    return [(p, p.data) for p in model.parameters() if p.requires_grad]


def settle(trainer: Any, exact: Sequence[tuple[Any, Any]]) -> None:
    """Give a new trainer its exact values back, and count the steps that are left out."""
    for parameter, values in exact:
        if parameter.dtype != values.dtype:
            parameter.data = values
    trainer.add_callback(_counter(trainer.accelerator))


def skipped_steps(history: Sequence[dict[str, Any]]) -> list[int]:
    """Return the steps of the trainer's log at which gradients overflowed and nothing was changed.

    >>> skipped_steps([{"step": 1, "skipped_step": 1}, {"step": 2, "loss": 0.5}])
    [1]
    """
    return sorted({int(entry["step"]) for entry in history if _SKIPPED in entry})


@contextlib.contextmanager
def outside_autocast(model: Any) -> Iterator[None]:
    """Run a model as it was loaded while this lasts, although it is being trained in autocast."""
    own = model.__dict__.get(_FORWARD)
    if own is None:
        yield
        return
    in_autocast, model.forward = model.forward, own
    try:
        yield
    finally:
        model.forward = in_autocast


def leave_autocast(model: Any) -> None:
    """Take autocast off a model that was trained, so that it is scored like the base."""
    own = model.__dict__.pop(_FORWARD, None)
    if own is not None:
        model.forward = own


def _counter(accelerator: Any) -> Any:
    """Return a callback that writes a skipped step into the trainer's log.

    The scaler skips a step whose gradients overflowed and lowers its scale; the first steps of a
    run often go so, since it begins at 65,536. Only the scale tells: a fused optimiser leaves the
    step out itself, and accelerate then counts it as made. The log is part of each checkpoint, so
    a resumed run knows of the steps before it.
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
                say(f"step {step:>4} left out: its gradients overflowed in fp16")

    return Skipped()
