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

_SECONDS_BETWEEN_LOOKS = 0.05
PREDICTED, MEASURED = "train_predicted_bytes", "train_peak_bytes"


@contextlib.contextmanager
def watched(
    found: dict[str, int], run: RunConfig, data: TrainData, base: Base, model: Any
) -> Iterator[None]:
    """Write the predicted peak of a training to `found`, and the measured peak when it ends.

    On a GPU the measured peak is that of its allocator. On a CPU it is the size of the model plus
    the growth of the process's resident memory, which includes memory that the allocator has freed
    but not returned.
    """
    with contextlib.suppress(ExperimentError):  # an unknown model shape is no reason to stop
        found[PREDICTED] = round(_predicted(run, data, base))
        log(f"  memory of training = {found[PREDICTED] / 1e9:.2f} GB  (predicted)")
    if base.precision.device == "cuda":
        yield from _on_cuda(found)
        return
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in model.parameters()}
    held = sum(one.nbytes() for one in storages.values())
    resident.release_freed_memory()
    watch = resident.Watch(_SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        found[MEASURED] = held + watch.peak_growth()


def _on_cuda(found: dict[str, int]) -> Iterator[None]:
    import torch

    # Save the earlier peak first: only a reset gives the peak of the training by itself.
    found["peak_cuda_bytes"] = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    try:
        yield
    finally:
        found[MEASURED] = int(torch.cuda.max_memory_allocated())


def _predicted(run: RunConfig, data: TrainData, base: Base) -> float:
    """Return the planned peak in bytes for the loaded rows, without the CUDA context."""
    lengths = [len(row.ids) for row in data.train]
    tokens, trained = sum(lengths), sum(row.trained_tokens for row in data.train)
    told = dataclasses.replace(
        run.plan,
        rows=len(lengths),
        tokens_per_row=max(1.0, tokens / len(lengths)),
        longest_row_tokens=max(lengths),
        trained_share=trained / tokens,
    )
    trainer = dataclasses.replace(run.trainer, precision=base.precision.name)
    plan = estimate.of(dataclasses.replace(run, plan=told, trainer=trainer))
    return plan.memory.total - (0 if plan.device.is_cpu else memory.CUDA_CONTEXT_BYTES)
