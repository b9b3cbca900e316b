"""Record the predicted and the measured peak memory of a training, in bytes."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from experiments.config import RunConfig
from experiments.data import TrainData
from experiments.errors import ExperimentError
from experiments.models import Base
from experiments.planning import estimate, memory, resident
from experiments.runtime.progress import log

_SECONDS_BETWEEN_SAMPLES = 0.05
PREDICTED, MEASURED = "train_predicted_bytes", "train_peak_bytes"


@contextlib.contextmanager
def watched(
    peaks: dict[str, int], run: RunConfig, data: TrainData, base: Base, model: Any
) -> Iterator[None]:
    """Write the predicted peak of a training to `peaks`, and the measured peak when it ends.

    On a GPU the measured peak is that of its allocator. On a CPU it is the size of the model plus
    the growth of the process's resident memory, which includes memory that the allocator has freed
    but not returned.
    """
    with contextlib.suppress(ExperimentError):  # an unknown model shape is no reason to stop
        peaks[PREDICTED] = round(_predicted(run, data, base))
        log(f"  memory of training = {peaks[PREDICTED] / 1e9:.2f} GB  (predicted)")
    if base.precision.device == "cuda":
        yield from _on_cuda(peaks)
        return
    storages = {
        parameter.untyped_storage().data_ptr(): parameter.untyped_storage()
        for parameter in model.parameters()
    }
    model_bytes = sum(storage.nbytes() for storage in storages.values())
    resident.release_freed_memory()
    watch = resident.Watch(_SECONDS_BETWEEN_SAMPLES)
    try:
        yield
    finally:
        peaks[MEASURED] = model_bytes + watch.peak_growth()


def _on_cuda(peaks: dict[str, int]) -> Iterator[None]:
    import torch

    # Save the earlier peak first: only a reset gives the peak of the training by itself.
    peaks["peak_cuda_bytes"] = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    try:
        yield
    finally:
        peaks[MEASURED] = int(torch.cuda.max_memory_allocated())


def _predicted(run: RunConfig, data: TrainData, base: Base) -> float:
    """Return the planned peak in bytes for the loaded rows, without the CUDA context."""
    lengths = [len(row.ids) for row in data.train]
    tokens, trained_tokens = sum(lengths), sum(row.trained_tokens for row in data.train)
    plan_config = dataclasses.replace(
        run.plan,
        rows=len(lengths),
        tokens_per_row=max(1.0, tokens / len(lengths)),
        longest_row_tokens=max(lengths),
        trained_share=trained_tokens / tokens,
    )
    trainer = dataclasses.replace(run.trainer, precision=base.precision.name)
    plan = estimate.of(dataclasses.replace(run, plan=plan_config, trainer=trainer))
    return plan.memory.total - (0 if plan.device.is_cpu else memory.CUDA_CONTEXT_BYTES)
