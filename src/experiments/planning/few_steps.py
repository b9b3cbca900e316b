"""Run a few real training steps on synthetic rows and measure memory and time.

The rows are about as long as the longest of the run, so that memory is at its maximum.
"""

import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from experiments import training
from experiments.config import RunConfig
from experiments.data import Encoded, TrainData
from experiments.models import Base
from experiments.planning import live_tensors, resident
from experiments.planning.torch_private import storage_id
from experiments.training import sft_trainer as trainers


@dataclass(frozen=True)
class StepMeasurement:
    """Memory and time of a few steps."""

    peak_bytes: int
    """Peak of all tensors together."""
    resident_bytes: int
    """Model size plus growth of resident memory; on a GPU, memory reserved by its allocator."""
    operation: str
    """The operation after which the peak was reached; empty on a GPU."""
    seconds_per_step: float
    """Without the first step, which includes warm-up costs."""
    oom_events: tuple[dict[str, Any], ...] = ()
    """Out-of-memory events, as in `training.Task`."""


def train(run: RunConfig, model: Any, base: Base, *, follow: bool = True) -> StepMeasurement:
    """Train a run's steps on synthetic rows and return memory and time.

    Args:
        run: with `trainer.max_steps`, `plan.longest_row_tokens` and `plan.trained_share`.
        model: the model with its adapter.
        base: the base model of which it consists.
        follow: on a CPU, track every tensor, which slows the steps down.
    """
    train_rows = list(rows(run))
    data = TrainData({"train": train_rows}, "", {}, renderer=None)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        task = training.Task(
            run, model, base, data, Path(folder), report=lambda *_: False, log=lambda *_: None
        )
        micro = run.trainer.micro_batch_size or 1
        trainer = trainers.build(task, training.plan(run.trainer, len(train_rows)), micro)
        trainer.args.save_strategy = "no"
        times = step_times(trainer)
        if base.precision.device == "cuda":
            peak, resident_bytes, operation = _on_cuda(trainer)
        else:
            peak, resident_bytes, operation = _on_cpu(trainer, model, follow)
    return StepMeasurement(
        peak,
        resident_bytes,
        operation,
        (times[-1] - times[0]) / max(1, len(times) - 1),
        tuple(task.oom_events),
    )


def rows(run: RunConfig) -> Iterator[Encoded]:
    """Yield rows of nearly maximal length, each a token shorter, so that a pass needs a mask."""
    longest, share = run.plan.longest_row_tokens or 1, run.plan.trained_share or 1.0
    micro = run.trainer.micro_batch_size or 1
    for i in range((run.trainer.max_steps or 1) * (run.trainer.batch_size or 1)):
        length = max(2, longest - (i if micro > 1 else 0))
        trained = max(1, round(length * share))
        ids = array("i", [3 + (7 * j + i) % 1000 for j in range(length)])
        yield Encoded({"id": str(i)}, ids, ((length - trained, length),), length - trained)


def step_times(trainer: Any) -> list[float]:
    """Return a list that is filled with the time at which each step ends."""
    from transformers import TrainerCallback

    times: list[float] = []

    class StepTimer(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.monotonic())

    trainer.add_callback(StepTimer())
    return times


def _on_cuda(trainer: Any) -> tuple[int, int, str]:
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    return int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved()), ""


def _on_cpu(trainer: Any, model: Any, follow: bool) -> tuple[int, int, str]:
    known = [*model.parameters(), *model.buffers()]
    storages = [tensor.untyped_storage() for tensor in known]
    model_bytes = sum({storage_id(storage): storage.nbytes() for storage in storages}.values())
    resident.release_freed_memory()
    watch = resident.Watch()
    if not follow:
        trainer.train()
        return 0, model_bytes + watch.peak_growth(), ""
    with live_tensors.LiveTensors(known) as live:
        trainer.train()
    return live.peak_bytes, model_bytes + watch.peak_growth(), live.peak_operation
