"""Attach an adapter to a run's base model and train it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import reports, training
from experiments.errors import ConfigError, OutOfBudget, Pruned, TrainingError
from experiments.records import Record, hub
from experiments.records.tracking import Tracker
from experiments.runs import objectives, peak_memory, summary
from experiments.runs.model_and_rows import Loaded
from experiments.runs.start import Start
from experiments.runtime import budget, distributed
from experiments.runtime.progress import log

if TYPE_CHECKING:
    from experiments.evaluation.scoring import Losses
    from experiments.planning.estimate import Estimate
    from experiments.training import Fit, Task


def load_adapter(path: str, loaded: Loaded) -> Any:
    """Return the base model with an adapter from disk."""
    from experiments.models import adapters

    return distributed.on_all_processes(lambda: adapters.load(path, loaded.base.model))


def load_given_adapter(path: str, record: Record, loaded: Loaded) -> Any:
    """Return the base model with the adapter of `model.adapter`, and record its modules."""
    from experiments.models import adapters

    model = load_adapter(path, loaded)
    record.adapter = {
        "trainable_parameters": 0,
        "trainable_share": 0.0,
        "linear_share": 0.0,
        "scale": None,
        "modules": adapters.adapted_modules(model),
    }
    return model


def attach_adapter(start: Start, record: Record, loaded: Loaded) -> Any:
    """Return the base model with a new adapter, ready for training, and record its size."""
    from experiments.models import adapters

    run, base = start.run, loaded.base
    attached = distributed.on_all_processes(lambda: adapters.attach(run, base.model))
    record.adapter = {
        "trainable_parameters": attached.trainable_parameters,
        "trainable_share": attached.trainable_parameters / base.parameters,
        "linear_share": attached.linear_share,
        "scale": None if run.lora.method == "none" else run.lora.scale,
        "modules": attached.modules,
    }
    summary.print_adapter(record.adapter, attached.notes)
    if run.lora.method != "none":
        summary.print_left_out(attached.idle, adapters.left_out(attached.model))
    return attached.model


def open_tracker(start: Start) -> Tracker:
    """Open the run in the tracker; with `tracker=none` the tracker does nothing."""
    return distributed.on_all_processes(
        lambda: Tracker(
            start.run,
            run_id=start.run_id,
            sweep_dir=start.job.folder.parent,
            overrides=start.job.overrides,
            fresh=start.earlier is None,
        )
    )


def plan_steps(start: Start, record: Record, loaded: Loaded) -> None:
    """Record and print the planned steps.

    Raises:
        ConfigError: a pruner is set, and there are no validation rows to prune by.
    """
    steps = training.plan(start.run.trainer, len(loaded.data.train), start.run.eval)
    distributed.on_main_process(lambda: _refuse_pruner_without_rows(start, loaded))
    record.plan = dataclasses.asdict(steps)
    log(
        f"  steps = {steps.steps}, warm-up {steps.warmup_steps}, checkpoint every "
        f"{steps.save_steps}"
    )
    if steps.test_steps:
        steps_text = ", ".join(map(str, steps.test_steps))
        log(f"  test losses at steps {steps_text}, and of the final model")
        if start.run.trainer.lr_scheduler_type != "constant":
            log(
                "  note: the learning rate is not constant, so the model at an earlier step is not "
                "that of a shorter run (trainer.lr_scheduler_type=constant)"
            )


def _refuse_pruner_without_rows(start: Start, loaded: Loaded) -> None:
    stop_rule = start.job.stop_rule
    if stop_rule is not None and stop_rule.pruner_name and not loaded.data.validation:
        raise ConfigError(
            f"hydra/sweeper/pruner={stop_rule.pruner_name} compares validation losses, "
            "and there are no validation rows: set data.validation_rows or "
            "data.validation_share above 0, or leave the pruner out."
        )


def train(
    start: Start, record: Record, loaded: Loaded, model: Any, tracker: Tracker
) -> "dict[int, Losses]":
    """Train the model in place, and record its curve and the spectra of its adapter.

    Returns:
        The test losses by step, if steps are stated.

    Raises:
        Pruned: other trials do better.
        OutOfBudget: `budget.hours` is spent; a checkpoint was saved.
        TrainingError: the loss is not finite.
    """
    from experiments.models import spectral_norms
    from experiments.runs import planned_memory

    stop_rule = start.job.stop_rule
    stopped: list[tuple[int, float]] = []

    def should_stop(step: int, value: float, rows: Sequence[float]) -> bool:
        if (
            stop_rule is None
            or not stop_rule.report(step, value, rows)
            or step >= record.plan["steps"]
        ):
            return False  # a run is not stopped at its last step, it finishes
        stopped.append((step, value))
        return True

    plan = planned_memory.plan_of(start.run, loaded.data, loaded.base)
    base = planned_memory.with_checkpointing(loaded.base, plan)
    record.hardware = base.precision.facts()
    task = training.Task(
        *(start.run, model, base, loaded.data, start.folder),
        report=lambda *arguments: distributed.on_main_process(lambda: should_stop(*arguments)),
        log=tracker.log,
        saved=lambda checkpoint: hub.push_checkpoint(start.run, record, checkpoint),
    )
    record.plan["out_of_memory"] = task.oom_events
    distributed.on_main_process(lambda: budget.check("the run stopped before training"))
    try:
        fit = _fit(task, record, plan)
    finally:
        if stop_rule is not None:
            stop_rule.close()
    record.curve = fit.curve
    record.plan["selected_step"] = fit.selected_step
    record.plan["skipped_steps"] = fit.skipped_steps
    record.timing["train_seconds"] = fit.seconds
    distributed.on_main_process(lambda: _stop_if_pruned(record, stopped))
    record.adapter |= distributed.on_main_process(lambda: spectral_norms.of_trained(model))
    return task.test_losses


def save_adapter(record: Record, loaded: Loaded, model: Any) -> None:
    """Write the adapter with its model card to the run's folder."""
    from experiments.models import adapters

    base, card = loaded.base, reports.model_card(record)
    folder = record.folder / "adapter"
    adapters.save(model, base.tokenizer, folder, base_source=base.source, card=card)


def _fit(task: "Task", record: Record, plan: "Estimate | None") -> "Fit":
    from experiments.runs import planned_memory

    with (
        planned_memory.watched(record.memory, plan, task.base, task.model),
        distributed.synchronised(TrainingError, ConfigError, OutOfBudget),
    ):
        return training.fit(task)


def _stop_if_pruned(record: Record, stopped: Sequence[tuple[int, float]]) -> None:
    if not stopped:
        return
    step, value = stopped[0]
    name = objectives.DEFAULT
    record.objective = {"name": name, "direction": "minimize", "value": value}
    record.plan["stopped_at_step"] = step
    peak_memory.note_peak(record.memory)
    raise Pruned(
        f"stopped at step {step} of {record.plan['steps']}: {name} {value:.4f} is behind the "
        "other trials."
    )
