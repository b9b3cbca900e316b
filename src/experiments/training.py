"""One run through TRL's SFTTrainer: our rows, our order, our validation loss, exact resume.

The order of the rows is a function of the seed alone, so a resumed run reads what the undisturbed
one would have read, and 8 x 1 rows a step are the same rows as 1 x 8.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments.config import RunConfig, TrainerConfig
from experiments.data import Encoded, TrainData
from experiments.errors import ConfigError, TrainingError, did_you_mean
from experiments.metrics import loss
from experiments.models import Base
from experiments.progress import say

CHECKPOINTS = "checkpoints"
# Batches that are cut from one pool sorted by length: padding shrinks, batches stay mixed.
_POOL_BATCHES = 8
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit", "sgd": "sgd"}

Report = Callable[[int, float, Sequence[float]], bool]
"""(step, validation loss, the same for each row) -> whether to stop early."""
Log = Callable[[dict[str, float], int], None]
"""(scalars, step) -> shown in the tracker."""


@dataclass(frozen=True)
class StepPlan:
    """How many steps of how many rows."""

    steps: int
    batch_size: int
    micro_batch_size: int
    warmup_steps: int
    eval_every_steps: int
    save_every_steps: int

    @property
    def accumulation(self) -> int:
        """Forward passes per optimiser step."""
        return self.batch_size // self.micro_batch_size


@dataclass(frozen=True)
class Task:
    """Everything training needs."""

    run: RunConfig
    model: Any
    """With its adapter, or all of it trainable; it is changed in place."""
    base: Base
    data: TrainData
    folder: Path
    """The run's folder; checkpoints lie in it."""
    report: Report
    log: Log


@dataclass
class Fit:
    """What training did."""

    steps: int
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points with `step` and any of `loss`, `learning_rate`, `grad_norm`, `validation_nll`."""
    selected_step: int | None = None
    """The step whose weights are scored."""


def plan(trainer: TrainerConfig, rows: int) -> StepPlan:
    """Turn epochs or steps into a step plan for a number of training rows."""
    batch, micro = trainer.batch_size, trainer.micro_batch_size
    assert batch and micro and trainer.warmup_share is not None, "config.load resolves these"
    steps = trainer.max_steps
    if steps is None:
        assert trainer.epochs is not None, "config.load resolves this"
        steps = max(1, -(-round(trainer.epochs * rows) // batch))
    every = trainer.eval_every_steps or max(1, steps // 5)
    save = trainer.save_every_steps or every
    return StepPlan(
        steps=steps,
        batch_size=batch,
        micro_batch_size=micro,
        warmup_steps=round(trainer.warmup_share * steps),
        eval_every_steps=every,
        save_every_steps=every if trainer.select == "best_validation" else save,
    )


def row_order(lengths: Sequence[int], steps: StepPlan, seed: int) -> list[int]:
    """Return the row index of every position of the whole run.

    Whole permutations follow each other; eight batches at a time are sorted by length and their
    batches shuffled, so that rows of like length share a batch.
    """
    shuffler = random.Random(f"row order {seed}")
    wanted = steps.steps * steps.batch_size
    stream: list[int] = []
    while len(stream) < wanted:
        epoch = list(range(len(lengths)))
        shuffler.shuffle(epoch)
        stream += epoch
    stream = stream[:wanted]
    order: list[int] = []
    pool_rows = _POOL_BATCHES * steps.batch_size
    for at in range(0, wanted, pool_rows):
        pool = sorted(stream[at : at + pool_rows], key=lambda i: lengths[i])
        size = steps.batch_size
        batches = [pool[b : b + size] for b in range(0, len(pool), size)]
        shuffler.shuffle(batches)
        order += [i for batch in batches for i in batch]
    return order


def check_extra(trainer: TrainerConfig) -> None:
    """Refuse keys of `trainer.extra` that TRL does not know or that this project sets itself.

    Raises:
        ConfigError: naming the key.
    """
    if not trainer.extra:
        return
    from trl import SFTConfig

    known = sorted({f.name for f in fields(SFTConfig)} - set(_owned_arguments()))
    for key in trainer.extra:
        if key not in known:
            raise ConfigError(f"trainer.extra.{key}: {did_you_mean(key, known)}.")


def fit(task: Task) -> Fit:
    """Train the task's model in place and leave it with the selected weights.

    Continues from the newest checkpoint in the folder if there is one.

    Raises:
        TrainingError: the loss is no longer finite; `step` says where.
    """
    select = task.run.trainer.select
    if select == "best_validation" and not task.data.validation:
        raise ConfigError(
            "trainer.select=best_validation needs validation rows: set data.validation_rows or "
            "data.validation_share above 0, or trainer.select=last."
        )
    steps = plan(task.run.trainer, len(task.data.train))
    newest = newest_checkpoint(task.folder)
    began = time.monotonic()
    if newest is not None and _state(newest)["global_step"] >= steps.steps:
        say(f"training is complete in {newest.name}; it is scored from there")
        return _from_finished(task, newest)
    trainer = _build(task, steps)
    if newest is not None:
        say(f"continuing from {newest.name} of {steps.steps} steps")
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    state = trainer.state
    best = state.best_model_checkpoint if select == "best_validation" else None
    return Fit(
        steps=state.global_step,
        seconds=time.monotonic() - began,
        curve=curve(state.log_history),
        selected_step=_state(Path(best))["global_step"] if best else state.global_step,
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the last whole checkpoint of a run's folder."""
    found = []
    for path in (folder / CHECKPOINTS).glob("checkpoint-*"):
        try:
            found.append((_state(path)["global_step"], path))
        except (OSError, ValueError, KeyError):
            continue  # killed while it was being written
    return max(found)[1] if found else None


def curve(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Turn the trainer's log into one point per step."""
    names = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
    names |= {"eval_loss": "validation_nll"}
    points: dict[int, dict[str, float]] = {}
    for entry in history:
        point = {new: float(entry[old]) for old, new in names.items() if old in entry}
        if point:
            points.setdefault(int(entry["step"]), {"step": int(entry["step"])}).update(point)
    return [points[step] for step in sorted(points)]


def _state(checkpoint: Path) -> dict[str, Any]:
    text = (checkpoint / "trainer_state.json").read_text(encoding="utf-8")
    state: dict[str, Any] = json.loads(text)
    return state


def _from_finished(task: Task, checkpoint: Path) -> Fit:
    """Load the selected weights of a training that ended before its record was written.

    Resuming a finished run would train one step more.
    """
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    state = _state(checkpoint)
    chosen = checkpoint
    if task.run.trainer.select == "best_validation" and state["best_model_checkpoint"]:
        chosen = checkpoint.parent / Path(state["best_model_checkpoint"]).name
    if isinstance(task.model, PeftModel):
        set_peft_model_state_dict(task.model, load_file(chosen / "adapter_model.safetensors"))
    else:
        task.model.load_state_dict(load_file(chosen / "model.safetensors"), strict=False)
    return Fit(
        steps=state["global_step"],
        seconds=0.0,
        curve=curve(state["log_history"]),
        selected_step=_state(chosen)["global_step"],
    )


def _owned_arguments() -> dict[str, Any]:
    """Arguments of SFTConfig that follow from no key of the config."""
    return {
        "output_dir": None,
        "report_to": "none",
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": True,
        "disable_tqdm": True,
        # The Trainer would replace a NaN by recent losses in its log.
        "logging_nan_inf_filter": False,
        "auto_find_batch_size": False,
        "per_device_train_batch_size": None,
        "gradient_accumulation_steps": None,
        "max_steps": None,
        "learning_rate": None,
        "seed": None,
        "bf16": None,
        "fp16": None,
    }


def _arguments(task: Task, steps: StepPlan) -> Any:
    from trl import SFTConfig

    run, base = task.run, task.base
    trainer = run.trainer
    best = trainer.select == "best_validation"
    return SFTConfig(
        **_owned_arguments()
        | {
            "output_dir": str(task.folder / CHECKPOINTS),
            "per_device_train_batch_size": steps.micro_batch_size,
            "gradient_accumulation_steps": steps.accumulation,
            "max_steps": steps.steps,
            "learning_rate": trainer.learning_rate,
            "seed": run.seed,
            "bf16": base.precision.name == "bf16",
            "fp16": base.precision.name == "fp16",
        },
        use_cpu=base.precision.device == "cpu",
        dataloader_pin_memory=base.precision.device != "cpu",
        lr_scheduler_type=_SCHEDULES[str(trainer.lr_schedule)],
        warmup_steps=steps.warmup_steps,
        optim=_OPTIMIZERS[str(trainer.optimizer)],
        weight_decay=trainer.weight_decay,
        max_grad_norm=trainer.max_grad_norm,
        activation_checkpointing=bool(trainer.gradient_checkpointing),
        logging_steps=trainer.log_every_steps,
        logging_first_step=True,
        eval_strategy="steps" if task.data.validation else "no",
        eval_steps=steps.eval_every_steps,
        save_strategy="steps",
        save_steps=steps.save_every_steps,
        save_total_limit=None if trainer.keep == "all" else 1,
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if best else None,
        greater_is_better=False if best else None,
        **trainer.extra,
    )


def _build(task: Task, steps: StepPlan) -> Any:
    from transformers import PrinterCallback

    validation = task.data.validation
    trainer = _trainer_class(task, steps)(
        model=task.model,
        args=_arguments(task, steps),
        train_dataset=_dataset(task.data.train),
        eval_dataset=_dataset(validation) if validation else None,
        processing_class=task.base.tokenizer,
        callbacks=[_progress(task.log, steps.steps)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _trainer_class(task: Task, steps: StepPlan) -> Any:
    """Return SFTTrainer with our row order, loss check and validation loss.

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

    class Trainer(SFTTrainer):  # type: ignore[misc]
        measured: tuple[int, float] | None = None

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return Ordered()

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            value = super().training_step(*args, **kwargs)
            if not torch.isfinite(value):
                _refuse_loss(float(value), self.state.global_step + 1)
            return value

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
                say(_line(point, steps))

    return Shown()


def _refuse_loss(value: float, step: int) -> None:
    error = TrainingError(
        f"the loss is {value} at step {step}, so training stopped before this step changed the "
        "weights: lower trainer.learning_rate, lengthen trainer.warmup_share or lower "
        "trainer.max_grad_norm."
    )
    error.step = step
    raise error


def _dataset(rows: Sequence[Encoded]) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_dict(
        {"input_ids": [e.input_ids for e in rows], "labels": [e.labels for e in rows]}
    )


def _line(point: dict[str, float], steps: int) -> str:
    parts = [f"step {point['step']:>4.0f}/{steps}"]
    if "loss" in point:
        parts.append(f"loss {point['loss']:.4f}")
    if "learning_rate" in point:
        parts.append(f"rate {point['learning_rate']:.2e}")
    if "validation_nll" in point:
        parts.append(f"validation {point['validation_nll']:.4f} nats/token")
    return "  ".join(parts)
