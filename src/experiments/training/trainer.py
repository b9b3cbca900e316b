"""TRL's SFTTrainer with our row order, loss, validation loss and passes."""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.data import Encoded
from experiments.metrics import loss
from experiments.progress import say
from experiments.training.arguments import arguments
from experiments.training.curves import curve, line
from experiments.training.passes import choose_loss, passes_class
from experiments.training.steps import StepPlan, row_order
from experiments.training.task import Log, Task


def build(task: Task, steps: StepPlan, rows: int) -> Any:
    """Return the trainer of a task, ready for `train`, with at most some rows a pass."""
    from transformers import PrinterCallback

    validation = task.data.validation
    trainer = _trainer_class(task, steps, rows)(
        model=task.model,
        args=arguments(task, steps),
        train_dataset=_dataset(task.data.train),
        eval_dataset=_dataset(validation) if validation else None,
        processing_class=task.base.tokenizer,
        callbacks=[_progress(task.log, steps.steps)],
    )
    trainer.remove_callback(PrinterCallback)
    choose_loss(trainer)
    return trainer


def _trainer_class(task: Task, steps: StepPlan, rows: int) -> Any:
    """Return SFTTrainer with our row order, loss, validation loss and passes.

    The class is made here because importing TRL takes seconds.
    """
    import torch
    from trl import SFTTrainer

    order = row_order([len(e.input_ids) for e in task.data.train], steps, task.run.seed)

    class Ordered(torch.utils.data.Sampler[int]):
        """The whole run's rows in their order, as one epoch."""

        def __iter__(self) -> Iterator[int]:
            return iter(order)

        def __len__(self) -> int:
            return len(order)

    class Trainer(passes_class(task, rows)):  # type: ignore[misc]
        measured: tuple[int, float] | None = None

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return Ordered()

        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            """Measure the true token mean; the stock loss depends on the batch size."""
            step = self.state.global_step
            if self.measured is None or self.measured[0] != step:  # asked again at the end
                parts = loss.token_nll(self.model, task.data.validation)
                nll = loss.mean_nll(parts)
                self.measured = (step, nll)
                super(SFTTrainer, self).log({"eval_loss": nll})
                if task.report(step, nll, [total / max(1, n) for total, n in parts]):
                    self.control.should_training_stop = True
            return {"eval_loss": self.measured[1]}

    return Trainer


def _progress(log: Log, steps: int) -> Any:
    """Return a callback that prints and tracks each line of the trainer's log."""
    from transformers import TrainerCallback

    class Shown(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            for point in curve([{**(logs or {}), "step": state.global_step}]):
                log({k: v for k, v in point.items() if k != "step"}, state.global_step)
                say(line(point, steps))

    return Shown()


def _dataset(rows: Sequence[Encoded]) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_dict(
        {"input_ids": [e.input_ids for e in rows], "labels": [e.labels for e in rows]}
    )
