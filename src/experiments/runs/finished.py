"""Load the tuned model of a finished run, for `generate` and `merge`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments import config, records
from experiments.config import RunConfig
from experiments.errors import ConfigError, RecordError
from experiments.records import Record
from experiments.runtime.progress import log


def load_run(folder: Path, *, plain: bool = False) -> tuple[Any, Any]:
    """Load a finished run's base model with its adapter, for `generate` and `merge`.

    If the run used a device that is not available, load it in this device's native precision.

    Args:
        folder: the run's folder.
        plain: load the unquantized base weights even if the run trained on 4-bit weights.

    Returns:
        The `Base`, whose `model` is the tuned model, and the record.

    Raises:
        RecordError: the run is not finished or kept no adapter.
    """
    from experiments import models
    from experiments.models import adapters

    record = records.read(folder / records.FILE_NAME)
    if record.status != "finished":
        raise RecordError(f"{folder} is {record.status}, not finished: run it to its end first.")
    saved = folder / "adapter"
    if not saved.is_dir():
        raise RecordError(
            f"{folder} kept no adapter (trainer.keep): run it with trainer.keep=adapter."
        )
    run = _from_record(record)
    if plain:
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, quantization=None))
    run, precision = _on_this_device(run)
    if record.adapter["modules"]:
        base = models.load(run, precision)
        base.model = adapters.load(str(saved), base.model)
        return base, record
    spec = dataclasses.replace(
        run.model, path=str(saved), hub_id=None, embedded=None, revision=None
    )
    return models.load(dataclasses.replace(run, model=spec), precision), record


def _on_this_device(run: RunConfig) -> tuple[RunConfig, Any]:
    """Return the run on an available device, and its precision on that device."""
    from experiments import models

    try:
        return run, models.choose_precision(run)
    except ConfigError as error:
        fallback = dataclasses.replace(
            run,
            hardware=config.HardwareConfig(),
            trainer=dataclasses.replace(run.trainer, precision="auto", attention="sdpa"),
        )
        precision = models.choose_precision(fallback)
        log(f"  loaded in {precision.name} on {precision.device_name}, because: {error}")
        return fallback, precision


def _from_record(record: Record) -> RunConfig:
    from omegaconf import OmegaConf

    config_fields = json.loads(json.dumps(record.config))
    # Load with the attention kernels that the run used; the model may not support the config's.
    config_fields["trainer"]["attention"] = record.identity.get("attention", "sdpa")
    return config.load(OmegaConf.create(config_fields))
