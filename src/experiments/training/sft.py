"""Train one run with TRL's SFTTrainer, with a fixed row order and exact resume.

The order of the rows depends only on the seed, so a resumed run reads the same rows as an
uninterrupted one, and a step of 8 x 1 rows has the same rows as a step of 1 x 8.
"""

import time
from pathlib import Path

from experiments.errors import ConfigError
from experiments.runtime import distributed
from experiments.runtime.progress import log
from experiments.training import losses_at_steps, untouched
from experiments.training.checkpoints import load_weights, newest_checkpoint, state_of
from experiments.training.curves import curve
from experiments.training.half_precision import leave_autocast, skipped_steps
from experiments.training.micro_batches import KEY, oom_entries
from experiments.training.sft_trainer import build
from experiments.training.steps import StepPlan, plan
from experiments.training.task import Fit, Task


def fit(task: Task) -> Fit:
    """Train the task's model in place and leave it with the selected weights.

    Training resumes from the newest checkpoint in the folder if there is one.

    Raises:
        ConfigError: `trainer.select=best_validation` without validation rows.
        TrainingError: the loss is not finite; `step` is the step at which it happened.
    """
    select = task.run.trainer.select
    if select == "best_validation" and not task.data.validation:
        raise ConfigError(
            "trainer.select=best_validation needs validation rows: set data.validation_rows or "
            "data.validation_share above 0, or trainer.select=last."
        )
    _refuse_steps_without_rows(task)
    steps = plan(task.run.trainer, len(task.data.train), task.run.eval)
    newest = distributed.broadcast(newest_checkpoint(task.folder))
    began = time.monotonic()
    if newest is not None and state_of(newest)["global_step"] >= steps.steps:
        task.oom_events.extend(oom_entries(state_of(newest)["log_history"]))
        log(f"training is already complete in {newest.name}; evaluating from there")
        return _from_finished(task, newest)
    trainer = build(task, steps, _rows_per_pass(task, steps, newest))
    if newest is not None:
        log(f"continuing from {newest.name} of {steps.steps} steps")
    try:
        with untouched.config_of(task.model):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    finally:
        leave_autocast(task.model)
    state = trainer.state
    best_checkpoint = state.best_model_checkpoint if select == "best_validation" else None
    return Fit(
        steps=state.global_step,
        seconds=time.monotonic() - began,
        curve=curve(state.log_history),
        selected_step=state_of(Path(best_checkpoint))["global_step"]
        if best_checkpoint
        else state.global_step,
        skipped_steps=skipped_steps(state.log_history),
    )


def _refuse_steps_without_rows(task: Task) -> None:
    evaluation = task.run.eval
    if evaluation.validation_steps is not None and not task.data.validation:
        raise ConfigError(
            "eval.validation_steps needs validation rows: set data.validation_rows or "
            "data.validation_share above 0, or remove eval.validation_steps."
        )
    if evaluation.test_steps is not None and not any(
        rows for _, rows in task.data.evaluated_splits(evaluation)
    ):
        raise ConfigError(
            "eval.test_steps needs test rows: set data.test_rows or data.test_share above 0, or "
            "remove eval.test_steps."
        )


def _rows_per_pass(task: Task, steps: StepPlan, newest: Path | None) -> int:
    """Return the micro-batch size, as reduced by out-of-memory errors before an interruption."""
    if newest is None:
        return steps.micro_batch_size
    oom_events = oom_entries(state_of(newest)["log_history"])
    task.oom_events.extend(oom_events)
    rows = min([steps.micro_batch_size, *(entry[KEY] for entry in oom_events)])
    if rows < steps.micro_batch_size:
        log(f"  {rows} rows per pass, as before the interruption (out of memory)")
    return int(rows)


def _from_finished(task: Task, checkpoint: Path) -> Fit:
    """Load the selected weights of a run whose training finished before its record was written.

    Resuming a finished training would take one more step.
    """
    state = state_of(checkpoint)
    task.test_losses.update(losses_at_steps.saved(checkpoint))
    chosen = checkpoint
    if task.run.trainer.select == "best_validation" and state["best_model_checkpoint"]:
        chosen = checkpoint.parent / Path(state["best_model_checkpoint"]).name
    load_weights(chosen, task.model)
    return Fit(
        steps=state["global_step"],
        seconds=0.0,
        curve=curve(state["log_history"]),
        selected_step=state_of(chosen)["global_step"],
        skipped_steps=skipped_steps(state["log_history"]),
    )
