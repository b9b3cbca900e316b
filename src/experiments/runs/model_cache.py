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
from experiments.data import TrainData, benchmark_files, sources
from experiments.models import Base, Precision
from experiments.runtime.progress import log

# Weights are hashed in chunks, so that a model on a GPU is never copied to host memory in full.
_CHUNK_BYTES = 1 << 26


@dataclass
class _Cache:
    """The cache of this process; empty until the first run of a sweep has loaded something."""

    base: Base | None = None
    base_key: Any = None
    checksum: str = ""
    data: TrainData | None = None
    data_key: Any = None


_cache = _Cache()


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
    _free_memory()
    base = _base(run, precision)
    key = _data_key(run, base)
    if _cache.data is None or key != _cache.data_key:
        _cache.data = None
        _cache.data, _cache.data_key = _build(run, base), key
    return base, _cache.data


def forget() -> None:
    """Empty the cache."""
    _cache.base = _cache.data = _cache.base_key = _cache.data_key = None


def checksum(model: Any) -> str:
    """Return the xxh3-128 hash of all weights as they are in memory."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        flat = parameter.detach().contiguous().reshape(-1).view(torch.uint8)
        for chunk in flat.split(_CHUNK_BYTES):
            digest.update(chunk.cpu().numpy())
    return digest.hexdigest()


def _build(run: RunConfig, base: Base) -> TrainData:
    return data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)


def _base(run: RunConfig, precision: Precision) -> Base:
    if run.lora.method == "none":
        _cache.base = None  # two bases at once may not fit
        return models.load(run, precision)
    key = _base_key(run, precision)
    if _cache.base is not None and key == _cache.base_key:
        if checksum(_cache.base.model) == _cache.checksum:
            return _copy_modules(_cache.base)
        log("  the previous run changed the base model's weights: they are loaded again")
    _cache.base = None
    _cache.base, _cache.base_key = models.load(run, precision), key
    _cache.checksum = checksum(_cache.base.model)
    return _copy_modules(_cache.base)


def _copy_modules(base: Base) -> Base:
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
    model_fields = {k: v for k, v in spec.items() if k not in ("label", "recipe", "adapter")}
    folder, _ = models.find(run.model)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if run.model.chat_template and (template := chat_templates.located(run.model.chat_template)):
        files.append(template)
    precision_key = precision.computes_in, run.resolved_from["trainer.attention"]
    return model_fields, [_file_state(path) for path in files], precision_key


def _file_state(path: Path) -> tuple[str, int, int]:
    if not path.exists():  # loading reports the missing file
        return str(path), 0, 0
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _data_key(run: RunConfig, base: Base) -> Any:
    """Return the cache key of the rows: their description, files, tokenizer and maximum length."""
    located = [*sources.locate(run.data).items(), *sources.locate_tests(run.data).items()]
    evaluation = run.eval
    files = [
        f
        for name in evaluation.benchmarks
        for f in benchmark_files.located_files(name, evaluation.path)
    ]
    return (
        dataclasses.asdict(run.data.with_train_seed(run.seed)),
        [(name, str(source.place), source.files, source.commit) for name, source in located],
        (base.sha256, base.tokenizer.chat_template, base.end_ids, base.positions),
        run.trainer.max_length,
        (
            evaluation.benchmarks,
            evaluation.path,
            evaluation.max_new_tokens,
            [_file_state(file) for file in files],
        ),
        (evaluation.splits, evaluation.thinking, evaluation.loss_rows),
    )


def _free_memory() -> None:
    """Free the previous run's memory: trainers are reference cycles that need the collector."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
