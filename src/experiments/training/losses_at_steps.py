"""Measure losses at the steps that the config states, and keep them in the checkpoints.

The test losses of a step are computed like the final ones: on the same rows, outside autocast, in
all processes. No answers are generated. Each checkpoint contains what was measured before it, so a
resumed run has the losses of an uninterrupted one.
"""

import json
from pathlib import Path
from typing import Any

from experiments.evaluation import scoring
from experiments.evaluation.scoring import Losses
from experiments.runtime.progress import log
from experiments.training import half_precision
from experiments.training.steps import StepPlan
from experiments.training.task import Task

_FILE = "test_losses.json"


def callback(task: Task, steps: StepPlan) -> Any:
    """Return a callback that validates and measures test losses at the stated steps."""
    from transformers import TrainerCallback

    last_is_scored = task.run.trainer.select == "last"  # after training, by the final scores
    test_steps = [s for s in steps.test_steps if s < steps.steps or not last_is_scored]

    class StatedSteps(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            task.test_losses.update(saved(_checkpoint(args, state)))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            step = state.global_step
            if step in steps.validation_steps:
                control.should_evaluate = True
            if step in test_steps:
                task.test_losses[step] = _measure(task)
                nll = task.test_losses[step].means.get("loss/nll")
                if nll is not None:
                    log(f"step {step:>4}/{steps.steps}  test {nll:.4f} nats/token")
            return control

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if task.test_losses and state.is_world_process_zero:
                _save(task.test_losses, _checkpoint(args, state))

    return StatedSteps()


def saved(checkpoint: Path) -> dict[int, Losses]:
    """Return the losses by step that a checkpoint contains; empty if there are none."""
    file = checkpoint / _FILE
    if not file.is_file():
        return {}
    tree = json.loads(file.read_text(encoding="utf-8"))
    return {int(step): Losses(**fields) for step, fields in tree.items()}


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _measure(task: Task) -> Losses:
    subject = scoring.Subject(task.model, task.base, "tuned", task.run.eval)
    with half_precision.outside_autocast(task.model):
        return scoring.losses(subject, task.data)


def _save(losses: dict[int, Losses], checkpoint: Path) -> None:
    tree = {step: {"means": at.means, "parts": at.parts} for step, at in losses.items()}
    (checkpoint / _FILE).write_text(json.dumps(tree) + "\n", encoding="utf-8")
