"""A run and its model in, a few steps of the project's own training out, with what they took.

The rows are made up: as long as the run's longest, so that a pass is as full as it gets.
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
from experiments.training import trainer as trainers


@dataclass(frozen=True)
class Taken:
    """What a few steps took."""

    peak_bytes: int
    """Of all tensors."""
    resident_bytes: int
    """The model and the growth of resident memory; on a GPU what its allocator has reserved."""
    operation: str
    """After which the peak was reached; empty on a GPU."""
    seconds_per_step: float
    """The first step, which warms up, left out."""


def train(run: RunConfig, model: Any, base: Base, *, follow: bool = True) -> Taken:
    """Train a run's steps on made-up rows and return what they took.

    Args:
        run: with `trainer.max_steps`, `plan.longest_row_tokens` and `plan.trained_share`.
        model: with its adapter.
        base: what it is made of.
        follow: on a CPU, follow every tensor, which makes steps slower.
    """
    rows = list(_rows(run))
    data = TrainData({"train": rows}, "", {}, renderer=None)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        task = training.Task(
            run, model, base, data, Path(folder), report=lambda *_: False, log=lambda *_: None
        )
        micro = run.trainer.micro_batch_size or 1
        built = trainers.build(task, training.plan(run.trainer, len(rows)), micro)
        built.args.save_strategy = "no"
        times = _timed(built)
        if base.precision.device == "cuda":
            peak, grown, operation = _on_cuda(built)
        else:
            peak, grown, operation = _on_cpu(built, model, follow)
    return Taken(peak, grown, operation, (times[-1] - times[0]) / max(1, len(times) - 1))


def _rows(run: RunConfig) -> Iterator[Encoded]:
    """Yield rows of about the longest length, each a token shorter, so that a pass needs a mask."""
    longest, share = run.plan.longest_row_tokens or 1, run.plan.trained_share or 1.0
    micro = run.trainer.micro_batch_size or 1
    for i in range((run.trainer.max_steps or 1) * (run.trainer.batch_size or 1)):
        length = max(2, longest - (i if micro > 1 else 0))
        trained = max(1, round(length * share))
        ids = array("i", [3 + (7 * j + i) % 1000 for j in range(length)])
        yield Encoded({"id": str(i)}, ids, ((length - trained, length),), length - trained)


def _timed(trainer: Any) -> list[float]:
    """Return a list that fills with the time at which each step ends."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.monotonic())

    trainer.add_callback(Clock())
    return times


def _on_cuda(trainer: Any) -> tuple[int, int, str]:
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    return int(torch.cuda.max_memory_allocated()), int(torch.cuda.max_memory_reserved()), ""


def _on_cpu(trainer: Any, model: Any, follow: bool) -> tuple[int, int, str]:
    known = [*model.parameters(), *model.buffers()]
    storages = [tensor.untyped_storage() for tensor in known]
    held = sum({one._cdata: one.nbytes() for one in storages}.values())
    resident.give_back()
    watch = resident.Watch()
    if not follow:
        trainer.train()
        return 0, held + watch.peak_growth(), ""
    with live_tensors.LiveTensors(known) as live:
        trainer.train()
    return live.peak_bytes, held + watch.peak_growth(), live.peak_operation
