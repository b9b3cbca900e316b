"""Hash everything that determines a run's results, without loading a model."""

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from experiments import models
from experiments.config import RunConfig, chat_templates
from experiments.data import benchmark_files, sources
from experiments.errors import RecordError
from experiments.evaluation import held_out, item_scores
from experiments.models import adapters, weights
from experiments.records import provenance
from experiments.runtime import disk, distributed

INPUTS = "inputs_sha256"
"""Key of a record's provenance under which the hash of all inputs is stored."""
_GPUS = Path("/proc/driver/nvidia/gpus")
_IN_WEIGHTS_IDENTITY = (".safetensors", ".json", ".jinja")
_SECONDS_UNTIL_UNCHANGED = 2.0


def code(run: RunConfig) -> dict[str, Any]:
    """Return the hashes of the code that this run uses."""
    metric_names = [*run.eval.metrics, *item_scores.ALWAYS]
    return provenance.of_metrics(provenance.code_identity(), metric_names)


def inputs(run: RunConfig) -> str:
    """Hash everything that determines a run's results except its config and its metrics' code.

    Raises:
        ConfigError: the model is missing.
        DataError: a data file is missing.
    """
    located_sources = [*sources.locate(run.data).items(), *sources.locate_tests(run.data).items()]
    files_of_benchmarks = [
        f
        for benchmark in run.eval.benchmarks
        for f in benchmark_files.located_files(benchmark, run.eval.path)
    ]
    held_out_text = held_out.read(run)
    parts = {
        "model": _model(run),
        "adapter": adapters.fingerprint(run.model.adapter),
        "rows": [(name, source.files, source.commit) for name, source in located_sources],
        "benchmarks": [_sha256(file) for file in files_of_benchmarks],
        "held_out": held_out_text and held_out_text.sha256,
        "machine": _machine(run),
        "code": {k: v for k, v in code(run).items() if k != "scoring_code"},
        "libraries": provenance.libraries(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _model(run: RunConfig) -> list[str]:
    folder, commit = models.find(run.model)
    files = sorted(f for f in folder.iterdir() if f.suffix in (".json", ".jinja", ".txt", ".model"))
    if run.model.chat_template and (template := chat_templates.located(run.model.chat_template)):
        files.append(template)
    hashes = [f"{file.name} {_sha256(file)}" for file in files if file.is_file()]
    return [_weights(folder, run.model.quantization), str(commit), *hashes]


def _weights(folder: Path, quantization: str | None) -> str:
    """Return `weights.identity`, stored under the sizes and times of the files that it reads."""
    files = [f for f in sorted(folder.iterdir()) if f.suffix in _IN_WEIGHTS_IDENTITY]
    file_stats = [(str(file.resolve()), file.stat()) for file in files if file.is_file()]
    stats = [
        [path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        for path, stat in file_stats
    ]
    key_parts = [stats, quantization, provenance.code_identity()["training_code"]]
    key = hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()
    cache_file = disk.user_cache() / "weights" / key
    with contextlib.suppress(OSError, ValueError):
        return cache_file.read_text(encoding="ascii")
    identity = weights.identity(folder, quantization)
    newest = max((max(stat.st_mtime, stat.st_ctime) for _, stat in file_stats), default=0.0)
    # A file that changed just now may change again with the same times.
    if time.time() - newest > _SECONDS_UNTIL_UNCHANGED:
        with contextlib.suppress(RecordError):  # it is computed again next time
            disk.write_atomically(cache_file, identity.encode("ascii"))
    return identity


def _machine(run: RunConfig) -> dict[str, Any]:
    """Return the hardware facts that determine the device and the precision."""
    gpus = sorted(_GPUS.glob("*/information"))
    return {
        "hardware": dataclasses.asdict(run.hardware),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "gpus": [file.read_text("utf-8", "replace").partition("IRQ")[0] for file in gpus],
        "machine": [platform.system(), platform.machine(), provenance.cpu()],
        "processes": distributed.world_size(),
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
