"""Load the model and the data of a run, and compute the identity that its results depend on."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.config import RunConfig
from experiments.errors import ConfigError
from experiments.records import provenance
from experiments.runtime import distributed

if TYPE_CHECKING:
    from experiments.data import TrainData
    from experiments.evaluation.held_out import Window
    from experiments.models import Base


@dataclass(frozen=True)
class Loaded:
    """The model and the rows of a run."""

    base: "Base"
    data: "TrainData"
    windows: "list[Window]"
    """The held-out text that measures forgetting; empty without one."""
    identity: dict[str, Any]
    """Hashes and versions of everything but the config that the results depend on."""
    seconds: float


def load(run: RunConfig, *, keep: bool) -> Loaded:
    """Load the model and the data of a run in this process.

    Args:
        run: the run.
        keep: whether to cache them for another run of this process.

    Raises:
        ConfigError: the model is missing or unreadable, or a process has no GPU of its own.
        DataError: the data are missing, unreadable or contain nothing to train on.
        AdapterError: the LoRA config does not fit the model.
    """
    from experiments import models
    from experiments.models import adapters
    from experiments.runs import fingerprint, libraries, model_cache

    began = time.monotonic()
    models.find(run.model)  # report a missing model before importing torch
    with libraries.imported_once():
        precision = models.choose_precision(run)
        libraries.import_all(trains=run.trainer.max_steps != 0)
    _refuse_shared_gpus(precision.device)
    base, data = model_cache.load(run, precision, keep=keep)
    identity = {
        "data_fingerprint": data.fingerprint,
        "base_sha256": base.sha256,
        "adapter_sha256": adapters.fingerprint(run.model.adapter),
        **base.precision.computes_in,
        **fingerprint.code(run),
        "libraries": provenance.libraries(),
    }
    if run.trainer.max_steps != 0 and run.model.adapter is None:
        adapters.check_targets(run.lora, base.model)
    windows, held_out_identity = _held_out(run, base)
    return Loaded(base, data, windows, identity | held_out_identity, time.monotonic() - began)


def load_in_all_processes(run: RunConfig, loaded: Loaded | None, *, keep: bool) -> Loaded:
    """Load the model and the data in every process that has not loaded them yet.

    Raises:
        ConfigError: the processes found different models or rows.
        ExperimentError: an error of `load`.
    """
    result = distributed.on_all_processes(lambda: loaded or load(run, keep=keep))
    hashes = distributed.all_gather(
        (result.identity["base_sha256"], result.identity["data_fingerprint"])
    )
    distributed.on_all_processes(lambda: _refuse_differences(hashes))
    return result


def _held_out(run: RunConfig, base: "Base") -> "tuple[list[Window], dict[str, str]]":
    """Return the windows of the held-out text, and its part of the identity."""
    from experiments.evaluation import held_out

    held_out_text = held_out.read(run)
    if held_out_text is None:
        return [], {}
    windows = held_out.windows(held_out_text, base)[: run.eval.loss_rows]
    return windows, {"held_out_sha256": held_out_text.sha256}


def _refuse_differences(hashes: list[tuple[str, str]]) -> None:
    if any(other != hashes[0] for other in hashes):
        raise ConfigError(
            f"the processes of this run have different models or rows ({hashes}): give every "
            "machine the same files."
        )


def _refuse_shared_gpus(device: str) -> None:
    if device != "cuda" or distributed.world_size() == 1:
        return
    import torch

    local_processes = distributed.current().local_world_size
    if local_processes > torch.cuda.device_count():
        raise ConfigError(
            f"{local_processes} processes on {torch.cuda.device_count()} GPUs: launch one process "
            "per GPU, or set hardware=cpu."
        )
