"""TRL's SFTTrainer with this project's loss and with micro-batches that fit into memory."""

import functools
from typing import Any

from experiments.config import RunConfig
from experiments.errors import TrainingError
from experiments.runtime.progress import log
from experiments.training import trl_private
from experiments.training.micro_batches import MicroBatches
from experiments.training.task import Task


def passes_class(task: Task, rows: int) -> Any:
    """Return a trainer class that starts with the given number of rows per forward pass.

    The class is created in a function because importing TRL takes seconds.
    """
    import torch
    from trl import SFTTrainer

    class Passes(SFTTrainer):  # type: ignore[misc]
        measure: Any = None
        passes = MicroBatches(rows, _advice(task.run), task.oom_events)

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            batches, num_items = super().get_batch_samples(*args, **kwargs)
            self.passes.begin(batches)
            return batches, num_items

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            step = self.state.global_step + 1
            run_pass = functools.partial(self._one_pass, model, num_items_in_batch)
            if self.accelerator.num_processes > 1 or num_items_in_batch is None:
                # A single process cannot restart a step while the others continue, and a loss that
                # is a mean of means cannot be split.
                loss = run_pass(inputs)
            else:
                logged = len(task.oom_events)
                loss = self.passes.next(run_pass, model.zero_grad, step)
                self.state.log_history += task.oom_events[logged:]
            values = self.accelerator.gather(loss.reshape(1))  # so that all or none stop
            if not torch.isfinite(values).all():
                _refuse_loss(float(values[~torch.isfinite(values)][0]), step)
            return loss

        def _one_pass(self, model: Any, num_items: Any, inputs: Any) -> Any:
            return super().training_step(model, inputs, num_items)

        def compute_loss(
            self,
            model: Any,
            inputs: Any,
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            if self.measure is None or return_outputs:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return part_of_loss(self, model, inputs, num_items_in_batch)

    return Passes


def choose_loss(trainer: Any) -> None:
    """Make a trainer use this project's loss, unless `trainer.extra` selects another one."""
    if trainer.args.loss_type != "nll" or trainer.args.label_smoothing_factor != 0:
        return
    from experiments.models import causal_lm_loss

    trainer.measure = causal_lm_loss.of(trainer.model)
    if trainer.measure.reason is not None:
        log(f"  the loss is computed from all logits: {trainer.measure.reason}")
    # True whatever the model's own loss supports: this loss is normalised over the complete step.
    trainer.model_accepts_loss_kwargs = True


def part_of_loss(trainer: Any, model: Any, inputs: Any, num_items: Any) -> Any:
    """Return a forward pass's part of the loss of an optimiser step, in nats per trained token.

    The sum is the same as TRL's (trl 1.16, SFTTrainer.compute_loss), which also logs the entropy
    and accuracy of the tokens; that takes time and is not used here.

    Args:
        trainer: the trainer.
        model: the model as accelerate wrapped it.
        inputs: a collated batch, on the model's device.
        num_items: trained tokens of the step in all processes; None = those of the batch.
    """
    import torch

    model_inputs = {name: value for name, value in inputs.items() if name != "labels"}
    if trl_private.balances_experts(trainer):
        model_inputs["output_router_logits"] = True
    nll_N, outputs = trainer.measure(model, model_inputs | {"use_cache": False}, inputs["labels"])
    tokens = len(nll_N) if num_items is None else num_items
    # A batch without trained tokens has a loss of 0 and zero gradients.
    loss = nll_N.sum() / torch.as_tensor(tokens).clamp(min=1)
    if trainer.args.average_tokens_across_devices and num_items is not None:
        loss = loss * (trainer.accelerator.num_processes // trainer.get_tp_size())
    if trl_private.balances_experts(
        trainer
    ):  # the experts' loss is a mean over rows: weight each pass
        weight = len(inputs["input_ids"]) / trainer.args.per_device_train_batch_size
        weight /= trainer.current_gradient_accumulation_steps
        loss = loss + trl_private.balancing_weight(trainer) * outputs.aux_loss * weight
    return loss


def _advice(run: RunConfig) -> str:
    """Return advice on how to reduce the memory of a single row."""
    options = ["lower trainer.max_length"]
    if not run.trainer.gradient_checkpointing:
        options.append("set trainer.gradient_checkpointing=true")
    options.append("use a 4-bit base model")
    return ", ".join(options[:-1]) + " or " + options[-1]


def _refuse_loss(value: float, step: int) -> None:
    error = TrainingError(
        f"the loss is {value} at step {step}; training stopped before this step changed the "
        "weights: lower trainer.learning_rate, lengthen trainer.warmup_steps or lower "
        "trainer.max_grad_norm."
    )
    error.step = step
    raise error
