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
from experiments.planning.estimate import Estimate
from experiments.runtime.progress import log

_SECONDS_BETWEEN_SAMPLES = 0.05
PREDICTED, MEASURED = "train_predicted_bytes", "train_peak_bytes"


def plan_of(run: RunConfig, data: TrainData, base: Base) -> Estimate | None:
    """Return the plan of a run for its loaded rows; None if the shape of its model is unknown."""
    with contextlib.suppress(ExperimentError):  # no reason to stop
        return _planned(run, data, base)
    return None


def with_checkpointing(base: Base, plan: Estimate | None) -> Base:
    """Return the base with activations kept or recomputed as is better for the loaded rows."""
    precision = base.precision
    if plan is None or plan.settings.work.checkpointing == precision.gradient_checkpointing:
        return base
    checkpointing = plan.settings.work.checkpointing
    share = "?" if plan.share is None else f"{plan.share:.0%}"
    reason = f"{share} of the memory is needed {'even then' if checkpointing else 'so'}"
    log(f"  activations are {'recomputed' if checkpointing else 'kept'}  ({reason}, as planned)")
    reasons = precision.reasons | {"gradient_checkpointing": reason}
    changed = dataclasses.replace(precision, gradient_checkpointing=checkpointing, reasons=reasons)
    return dataclasses.replace(base, precision=changed)


@contextlib.contextmanager
def watched(peaks: dict[str, int], plan: Estimate | None, base: Base, model: Any) -> Iterator[None]:
    """Write the predicted peak of a training to `peaks`, and the measured peak when it ends.

    On a GPU the measured peak is that of its allocator. On a CPU it is the size of the model plus
    the growth of the process's resident memory, which includes memory that the allocator has freed
    but not returned.
    """
    if plan is not None:
        context = 0 if plan.device.is_cpu else memory.CUDA_CONTEXT_BYTES
        peaks[PREDICTED] = round(plan.memory.total - context)
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


def _planned(run: RunConfig, data: TrainData, base: Base) -> Estimate:
    """Return the plan of a run for its loaded rows."""
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
    return estimate.of(dataclasses.replace(run, plan=plan_config, trainer=trainer))
