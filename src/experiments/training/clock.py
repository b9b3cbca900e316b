"""Save checkpoints by time: every few minutes, and once more when the time budget is spent.

A step that has started is always finished, so a resumed run takes the same steps as an
uninterrupted one.
"""

import json
import time
from pathlib import Path
from typing import Any

from experiments.errors import OutOfBudget
from experiments.runtime import budget, distributed, transformers_private
from experiments.training.task import Task

# Stop unless the remaining time is this many times the longest step: it must be enough for the next
# step and for saving.
_STEPS_LEFT = 2.0
_PARTIAL_LOG = "partial_log.json"


def clock(task: Task) -> Any:
    """Return the callback of a task; the caller sets its `trainer` attribute once there is one."""
    from transformers import TrainerCallback

    minutes = task.run.trainer.save_every_minutes

    class Clock(TrainerCallback):  # type: ignore[misc]
        trainer: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved = self.stepped = time.monotonic()
            self.longest_step = 0.0
            self.out_of_time = False
            _restore_partial_log(self.trainer, _checkpoint(args, state))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.monotonic()
            # Measured between the ends of two steps, so it includes validation and checkpoints.
            self.longest_step = max(self.longest_step, now - self.stepped)
            self.stepped = now
            is_last = state.global_step >= state.max_steps
            save_due = minutes is not None and now - self.saved >= 60 * minutes
            out_of_time = not is_last and budget.is_spent(_STEPS_LEFT * self.longest_step)
            # The clocks of the processes may differ.
            save_due, self.out_of_time = distributed.broadcast((save_due, out_of_time))
            if save_due or self.out_of_time:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved = time.monotonic()
            checkpoint = _checkpoint(args, state)
            if state.is_world_process_zero:
                _keep_partial_log(self.trainer, checkpoint)
                task.saved(checkpoint)
            distributed.all_gather(None)  # no process continues before the checkpoint is complete
            if self.out_of_time:
                stop = OutOfBudget(
                    budget.sentence(
                        f"training stopped with a checkpoint at step {state.global_step} of "
                        f"{state.max_steps}"
                    )
                )
                stop.step = state.global_step
                raise stop

    return Clock()


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _keep_partial_log(trainer: Any, checkpoint: Path) -> None:
    """Save the losses not yet logged, because the Trainer's next log entry is a mean over them."""
    loss_sum, logged_step = transformers_private.unlogged_loss(trainer)
    partial_log = {"loss_sum": loss_sum, "logged_step": logged_step}
    (checkpoint / _PARTIAL_LOG).write_text(json.dumps(partial_log) + "\n", encoding="utf-8")


def _restore_partial_log(trainer: Any, checkpoint: Path) -> None:
    file = checkpoint / _PARTIAL_LOG
    if file.is_file():
        partial_log = json.loads(file.read_text(encoding="utf-8"))
        transformers_private.restore_unlogged_loss(trainer, **partial_log)
