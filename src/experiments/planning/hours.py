"""Compute the hours of a run: training, losses and answers, of the tuned model and of its base.

Reading a prompt costs a forward pass. Writing costs a pass of one token per row for all rows of a
pool together, which takes as long as the slower of the products and of reading weights and cache
from memory, and on a GPU at least as long as starting its kernels.
"""

import math
from dataclasses import dataclass

from experiments.config.geometry import Geometry
from experiments.evaluation.batched_generation import (
    CACHE_BYTES_CPU,
    CACHE_SHARE,
    POOL_ROWS_CPU,
    POOL_ROWS_GPU,
)
from experiments.planning.activations import Pass
from experiments.planning.answers import Answers
from experiments.planning.parameters import Counts

GPU_LAYER_SECONDS, CPU_LAYER_SECONDS = 1.2e-3, 0.4e-3
"""Time per layer and decoding step that starting its operations takes; assumed, not measured."""
BANDWIDTH_SHARE = 0.6
"""Share of the memory bandwidth that decoding reaches; assumed, not measured."""
_NF4_READ = 4.5
"""Bytes moved per 4-bit weight of a product: read, written as 16 bits, and read again."""


@dataclass(frozen=True)
class Speed:
    """How fast a device computes."""

    flops: float
    """Operations per second that training reaches."""
    memory_bytes: float | None
    """Bytes per second that can be read from memory; None if unknown."""
    layer_seconds: float


@dataclass(frozen=True)
class Hours:
    """Hours of one run by part."""

    training: float
    losses: float
    """Of the tuned model's losses, during and after training."""
    answers: float
    """Of the tuned model's answers."""
    base: float
    """Of the untuned base's scores, which the runs of a sweep share; 0 if it is not scored."""
    base_at_limit: float
    """The same if the base never ends an answer."""
    others: float
    """`plan.evaluation_hours`."""

    @property
    def run(self) -> float:
        """Hours of a run whose base is scored already."""
        return self.training + self.losses + self.answers + self.others


@dataclass(frozen=True)
class Decoding:
    """What determines the speed of answers."""

    shape: Geometry
    counts: Counts
    work: Pass
    quantization: str | None
    free_bytes: float | None
    """Memory beside the weights; None if unknown."""


def answer_hours(answers: Answers, model: Decoding, speed: Speed) -> float:
    """Return the hours in which a model reads all prompts and writes all answers."""
    if not answers.rows:
        return 0.0
    linear = 2.0 * (model.counts.linear + model.counts.adapter)
    head = 2.0 * model.shape.vocabulary * model.shape.hidden_size
    context = (answers.prompt_tokens + answers.new_tokens / 2) / answers.rows
    scores = 4.0 * context * model.shape.query_width * model.shape.layers
    reading = answers.prompt_tokens * (linear + scores / 2) + answers.rows * head
    rows = pool_rows(answers, model)
    moved = _weight_bytes(model) + rows * context * _cache_bytes(model)
    memory = 0.0 if speed.memory_bytes is None else moved / speed.memory_bytes / BANDWIDTH_SHARE
    products = rows * (linear + head + scores) / speed.flops
    step = max(products, memory, speed.layer_seconds * model.shape.layers)
    longest = max(asked.answer_tokens for asked in answers.sets)
    steps = max(answers.new_tokens / rows, longest)
    return (reading / speed.flops + steps * step) / 3600


def pool_rows(answers: Answers, model: Decoding) -> int:
    """Return how many rows are answered at a time."""
    most = POOL_ROWS_CPU if model.work.on_cpu else POOL_ROWS_GPU
    longest = max(asked.prompt_tokens for asked in answers.sets) + answers.limit_tokens
    free = math.inf if model.free_bytes is None else max(0.0, model.free_bytes) * CACHE_SHARE
    cache = min(free, CACHE_BYTES_CPU) if model.work.on_cpu else free
    fitting = cache / (longest * _cache_bytes(model))
    return max(1, min(most, answers.rows, int(min(fitting, most))))


def _cache_bytes(model: Decoding) -> float:
    """Return the bytes of one token's keys and values in all layers."""
    return 2.0 * model.shape.key_width * model.shape.layers * _number(model)


def _weight_bytes(model: Decoding) -> float:
    """Return the bytes that a decoding step reads of the weights, without the embedding's rows."""
    head = model.shape.vocabulary * model.shape.hidden_size * _number(model)
    per_weight = _number(model) if model.quantization is None else _NF4_READ
    return model.counts.linear * per_weight + head


def _number(model: Decoding) -> int:
    return 4 if model.work.full else model.work.number
