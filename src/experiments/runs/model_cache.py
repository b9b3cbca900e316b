"""Cache the base model and the tokenised rows between the runs of one process.

Each run gets its own copy of the model's modules around the cached weights, so that changes to
modules (adapters, hooks, a patched `forward`) do not leak into the next run. Weights are shared,
not copied, and their checksum is verified before reuse, because some LoRA initialisations rewrite
them. Full fine-tuning changes the weights on purpose and always loads its own base model.
"""

import copy
import dataclasses
import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import data, models
from experiments.config import RunConfig, chat_templates
from experiments.data import TrainData, benchmark_rows, sources
from experiments.models import Base, Precision
from experiments.runtime.progress import log

# Weights are hashed in chunks, so that a model on a GPU is never copied to host memory in full.
_PIECE_BYTES = 1 << 26


@dataclass
class _Kept:
    """The cache of this process; empty until the first run of a sweep has loaded something."""

    base: Base | None = None
    base_key: Any = None
    checksum: str = ""
    data: TrainData | None = None
    data_key: Any = None


_kept = _Kept()


def load(run: RunConfig, precision: Precision, *, keep: bool) -> tuple[Base, TrainData]:
    """Return the base model and the rows of a run, from the cache if they match, else loaded.

    Args:
        run: the run.
        precision: the precision it computes in.
        keep: whether to cache them for another run of this process.

    Raises:
        ConfigError: the model is missing or unreadable.
        DataError: the data are missing, unreadable or contain nothing to train on.
    """
    if not keep:
        base = models.load(run, precision)
        return base, _build(run, base)
    _collect()
    base = _base(run, precision)
    key = _data_key(run, base)
    if _kept.data is None or key != _kept.data_key:
        _kept.data = None
        _kept.data, _kept.data_key = _build(run, base), key
    return base, _kept.data


def forget() -> None:
    """Empty the cache."""
    _kept.base = _kept.data = _kept.base_key = _kept.data_key = None


def checksum(model: Any) -> str:
    """Return the xxh3-128 hash of all weights as they are in memory."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        flat = parameter.detach().contiguous().reshape(-1).view(torch.uint8)
        for piece in flat.split(_PIECE_BYTES):
            digest.update(piece.cpu().numpy())
    return digest.hexdigest()


def _build(run: RunConfig, base: Base) -> TrainData:
    return data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)


def _base(run: RunConfig, precision: Precision) -> Base:
    if run.lora.method == "none":
        _kept.base = None  # two bases at once may not fit
        return models.load(run, precision)
    key = _base_key(run, precision)
    if _kept.base is not None and key == _kept.base_key:
        if checksum(_kept.base.model) == _kept.checksum:
            return _own_copy(_kept.base)
        log("  the previous run changed the base model's weights: they are loaded again")
    _kept.base = None
    _kept.base, _kept.base_key = models.load(run, precision), key
    _kept.checksum = checksum(_kept.base.model)
    return _own_copy(_kept.base)


def _own_copy(base: Base) -> Base:
    """Return a base with copied modules, config and tokenizer around the same weights."""
    shared = {id(parameter): parameter for parameter in base.model.parameters()}
    for parameter in shared.values():  # same state as after `models.load`; packed bytes are frozen
        parameter.requires_grad_(parameter.is_floating_point())
        parameter.grad = None
    scales = [getattr(module, "quant_state", None) for module in base.model.modules()]
    memo = shared | {id(scale): scale for scale in scales if scale is not None}
    model = copy.deepcopy(base.model, memo=memo)
    tokenizer = copy.deepcopy(base.tokenizer)
    return dataclasses.replace(base, model=model, tokenizer=tokenizer)


def _base_key(run: RunConfig, precision: Precision) -> Any:
    """Return the cache key of a base model: its description, its files, its precision."""
    spec = dataclasses.asdict(run.model)
    described = {k: v for k, v in spec.items() if k not in ("label", "recipe", "adapter")}
    folder, _ = models.find(run.model)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if run.model.chat_template and (template := chat_templates.located(run.model.chat_template)):
        files.append(template)
    wanted = precision.computes_in, run.resolved_from["trainer.attention"]
    return described, [_stamp(path) for path in files], wanted


def _stamp(path: Path) -> tuple[str, int, int]:
    if not path.exists():  # loading reports the missing file
        return str(path), 0, 0
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def _data_key(run: RunConfig, base: Base) -> Any:
    """Return the cache key of the rows: their description, files, tokenizer and maximum length."""
    located = [*sources.locate(run.data).items(), *sources.locate_tests(run.data).items()]
    asked = run.eval
    files = [f for name in asked.benchmarks for f in benchmark_rows.located_files(name, asked.path)]
    return (
        dataclasses.asdict(run.data),
        [(name, str(one.place), one.files, one.commit) for name, one in located],
        (base.sha256, base.tokenizer.chat_template, base.end_ids, base.positions),
        run.trainer.max_length,
        (asked.benchmarks, asked.path, asked.max_new_tokens, [_stamp(file) for file in files]),
        (asked.splits, asked.thinking, asked.loss_rows),
    )


def _collect() -> None:
    """Free the previous run's memory: trainers are reference cycles that need the collector."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
