"""TRL's SFTTrainer with this project's row order, loss, validation loss and micro-batches."""

from collections.abc import Sequence
from typing import Any

from experiments.data import Encoded
from experiments.evaluation.metrics import loss
from experiments.runtime import distributed
from experiments.runtime.progress import log
from experiments.training import (
    half_precision,
    loraplus,
    losses_at_steps,
    packing,
    trl_private,
    untouched,
)
from experiments.training.arguments import arguments
from experiments.training.clock import clock
from experiments.training.curves import curve, line
from experiments.training.passes import choose_loss, passes_class
from experiments.training.steps import StepPlan, row_order
from experiments.training.task import Log, Task


def build(task: Task, steps: StepPlan, rows: int) -> Any:
    """Return a task's trainer, ready for `train`, with at most `rows` rows per forward pass."""
    from transformers import PrinterCallback

    validation = task.data.validation
    exact_values = half_precision.trained_values(task.model)
    clock_callback = clock(task)
    stated_steps_callback = losses_at_steps.callback(task, steps)
    order = row_order([len(e.input_ids) for e in task.data.train], steps, task.run.seed)
    with untouched.config_of(task.model), trl_private.adapter_on_head_allowed(task.model):
        trainer = _trainer_class(task, rows)(
            model=task.model,
            args=arguments(task, steps),
            train_dataset=_dataset(task.data.train).select(order),
            eval_dataset=_dataset(validation) if validation else None,
            data_collator=packing.collate if task.run.trainer.packing else None,
            processing_class=task.base.tokenizer,
            # The clock comes last: it uploads a checkpoint, and may stop the run, once it is saved.
            callbacks=[_progress(task.log, steps.steps), stated_steps_callback, clock_callback],
        )
    clock_callback.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    half_precision.restore_values(trainer, exact_values)
    choose_loss(trainer)
    if task.run.trainer.packing:
        packing.refuse_leaks(
            task.model,
            task.data.train,
            task.base.precision.name,
            trainer.compute_loss_context_manager,
        )
    if distributed.world_size() > 1:
        trainer.add_callback(_follow_main_process())  # last, so that it sees the others' decisions
        _seed_dropout_by_rank(task.run.seed)
    return trainer


def _trainer_class(task: Task, rows: int) -> Any:
    """Return SFTTrainer with this project's loss, validation loss and micro-batches.

    The class is created in a function because importing TRL takes seconds.
    """
    from transformers import Trainer

    class RunTrainer(passes_class(task, rows)):  # type: ignore[misc]
        evaluated: tuple[int, float] | None = None

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """Write no TRL model card into a checkpoint; the adapter gets this project's card."""

        def create_optimizer(self, model: Any = None) -> Any:
            is_new, ratio = self.optimizer is None, task.run.lora.loraplus_lr_ratio
            optimizer = super().create_optimizer(model)
            if is_new and ratio is not None:
                loraplus.scale_learning_rate_of_b(
                    optimizer, self.model if model is None else model, ratio
                )
            return optimizer

        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            """Compute the mean over tokens; the Trainer's loss depends on the batch size."""
            step = self.state.global_step
            if self.evaluated is None or self.evaluated[0] != step:  # evaluated again at the end
                with half_precision.outside_autocast(self.model):
                    parts = _token_nll(self.model, task.data.validation)
                nll = loss.mean_nll(parts)
                self.evaluated = (step, nll)
                # SFTTrainer.log would add its own averages over the steps since the last entry.
                Trainer.log(self, {"eval_loss": nll})
                stop = task.report(step, nll, [total / max(1, n) for total, n in parts])
                if distributed.broadcast(stop):
                    self.control.should_training_stop = True
            return {"eval_loss": self.evaluated[1]}

    return RunTrainer


def _token_nll(model: Any, rows: Sequence[Encoded]) -> list[loss.Part]:
    """Compute the NLL of the rows, which are divided among the processes."""
    lengths = [len(row.ids) for row in rows]
    return distributed.split_between_processes(
        lengths, lambda indices: loss.token_nll(model, [rows[i] for i in indices])
    )


def _progress(track: Log, steps: int) -> Any:
    """Return a callback that prints and tracks each entry of the trainer's log."""
    from transformers import TrainerCallback

    class LogPoints(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            for point in curve([{**(logs or {}), "step": state.global_step}]):
                track({k: v for k, v in point.items() if k != "step"}, state.global_step)
                log(line(point, steps))

    return LogPoints()


def _follow_main_process() -> Any:
    """Return a callback that makes every process follow the main process's decision after a step.

    A decision based on the clock (save now, stop now) may differ between two processes, and a
    process that continues while others stop waits for them forever.
    """
    from transformers import TrainerCallback

    class FollowMainProcess(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            vars(control).update(distributed.broadcast(dict(vars(control))))
            return control

    return FollowMainProcess()


def _seed_dropout_by_rank(seed: int) -> None:
    """Seed dropout differently in each process: their rows differ, but the run's seed does not."""
    import torch

    rank = distributed.current().rank
    if rank:
        torch.manual_seed(seed + rank)


def _dataset(rows: Sequence[Encoded]) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_dict(
        {"input_ids": [e.input_ids for e in rows], "labels": [e.labels for e in rows]}
    )
