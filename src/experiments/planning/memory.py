"""A run's shape and settings -> the most memory that a training step holds, part by part.

What stays (weights, adapters, optimizer states) is summed; what comes and goes is followed
through the moments of a step that can be the fullest: the end of the forward pass, the loss, the
backward pass of the last layer and of the first, and the optimizer. The fullest one is named.

States: AdamW keeps two fp32 numbers a trained parameter; 8-bit AdamW (arXiv 2110.02861) two bytes
and two fp32 scales for each 256. NF4 with double quantisation takes 4 bits, one byte for each 64
weights and one fp32 scale for each 256 of those bytes: 4.127 bits a weight (arXiv 2305.14314,
section 3).
"""

import dataclasses
import math
from dataclasses import dataclass

from experiments.config.geometry import Geometry
from experiments.planning import activations
from experiments.planning.activations import FP32, Pass
from experiments.planning.parameters import Counts

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
TILE_LOGITS = 1 << 22
"""Logits that the loss holds at a time."""
_STATE_BYTES = {"adamw": 8.0, "adamw_8bit": 2 + 2 * FP32 / 256, "sgd": 0.0}
# What CUDA and cuBLAS take beside the tensors; not verified on a card.
CUDA_CONTEXT_BYTES = 450 * 2**20


@dataclass(frozen=True)
class Settings:
    """Everything but the shape that decides about memory."""

    work: Pass
    optimizer: str = "adamw"
    trained_share: float = 1.0
    """Share of the tokens that have a label, 0-1."""
    accumulation: int = 1
    quantization: str | None = None
    """`nf4`, or None."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment of a training step."""

    weights: float
    adapters: float
    optimizer: float
    gradients: float
    activations: float
    """Kept by the layers, and what the fullest moment needs beside them."""
    logits: float
    buffers: float
    """Rotation tables and ids; on a GPU also the CUDA context."""
    moment: str
    """When it is fullest."""

    @property
    def total(self) -> float:
        """All parts."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return each part's bytes by its name."""
        tree = dataclasses.asdict(self)
        tree.pop("moment")
        return tree


@dataclass(frozen=True)
class _Moment:
    name: str
    gradients: float = 0.0
    activations: float = 0.0
    logits: float = 0.0

    @property
    def total(self) -> float:
        return self.gradients + self.activations + self.logits


def estimate(shape: Geometry, counts: Counts, settings: Settings) -> Memory:
    """Return the memory of a training step after the first, when the optimizer has its states."""
    work = settings.work
    fullest = max(_moments(shape, counts, settings), key=lambda one: one.total)
    adapters = FP32 * (counts.trainable - (counts.total if work.full else 0))
    return Memory(
        weights=weights(shape, counts, settings),
        adapters=adapters,
        optimizer=_STATE_BYTES[settings.optimizer] * counts.trainable,
        gradients=fullest.gradients,
        activations=fullest.activations,
        logits=fullest.logits,
        buffers=activations.buffers(shape, work) + (0 if work.on_cpu else CUDA_CONTEXT_BYTES),
        moment=fullest.name,
    )


def weights(shape: Geometry, counts: Counts, settings: Settings) -> float:
    """Return the bytes of the base: fp32 where it trains or computes so, else the run's 16 bits."""
    size = FP32 if settings.work.full else settings.work.number
    if settings.quantization is None:
        return float(size * counts.total)
    rest = counts.total - counts.linear
    return counts.linear * NF4_BITS / 8 + size * rest


def _moments(shape: Geometry, counts: Counts, settings: Settings) -> list[_Moment]:
    work = settings.work
    kept = _Kept.of(shape, counts, work)
    gradients = _Gradients.of(shape, counts, settings)
    hidden = float(shape.hidden_size * work.tokens)
    logits, selected = _loss(shape, settings)
    down = FP32 * shape.hidden_size * shape.intermediate_size if work.full else 0.0
    upstream = work.residual * hidden + _dequantised(shape, settings)
    in_mlp = upstream + _mlp_backward(shape, work) + kept.recomputed
    last = kept.all + activations.last_norm(shape, work)
    found = [
        _Moment("forward pass", gradients.held, kept.all + _forward(shape, work)),
        _Moment("loss", gradients.held, last + selected, logits),
    ]
    for name, done in (("last layer", 0), ("first layer", kept.layers - 1)):
        left = kept.all - done * kept.layer
        made = gradients.held + gradients.head + done * gradients.layer
        found.append(_Moment(f"backward pass, {name}", made + down, left + in_mlp))
        if work.full:
            left += kept.recomputed - kept.mlp + upstream + _attention_backward(shape, work)
            found.append(_Moment(f"backward pass, {name}", made + gradients.mlp, left))
    found.append(_Moment("end of backward pass", gradients.at_the_end))
    found.append(_Moment("optimizer", gradients.all))
    return found


@dataclass(frozen=True)
class _Kept:
    """What lives from the forward pass to the backward pass, in bytes."""

    all: float
    layer: float
    """Freed with each layer that the backward pass is through with."""
    mlp: float
    recomputed: float
    """What checkpointing makes anew for the layer at hand."""
    layers: int

    @classmethod
    def of(cls, shape: Geometry, counts: Counts, work: Pass) -> "_Kept":
        one = activations.layer(shape, work)
        copies = _autocast_copies(counts, work) / shape.layers
        first = min((_layer_of(a.on.name) for a in counts.adapters), default=0)
        layers = shape.layers - (0 if work.full or work.checkpointing else first)
        if work.checkpointing:
            stored = activations.stored_inputs(shape, work)
            again = one.all + copies - (0 if work.half and not work.full else stored)
            return cls(stored * layers, stored, one.mlp, again, layers)
        every = (one.all + copies) * layers - activations.unkept(shape, work)
        return cls(every, one.all + copies, one.mlp, 0.0, layers)


def _layer_of(name: str) -> int:
    """Return the layer of a module; the head counts as the last of many.

    >>> _layer_of("model.layers.3.mlp.up_proj")
    3
    """
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["model", "layers"] else 10**6


def _autocast_copies(counts: Counts, work: Pass) -> float:
    """Autocast keeps a 16-bit copy of each trained weight of a layer until its backward pass."""
    if not work.half:
        return 0.0
    return 2.0 * (counts.linear if work.full else counts.adapter)


@dataclass(frozen=True)
class _Gradients:
    """Bytes of the gradients of trained parameters, all in fp32."""

    all: float
    held: float
    """There before the backward pass, from the micro-batches before."""
    layer: float
    """New with each layer."""
    mlp: float
    """New once a layer's MLP and output projection are through."""
    head: float
    """Of the head, made by the loss."""
    at_the_end: float

    @classmethod
    def of(cls, shape: Geometry, counts: Counts, settings: Settings) -> "_Gradients":
        every = float(FP32 * counts.trainable)
        table = float(FP32 * shape.vocabulary * shape.hidden_size)
        if not settings.work.full:
            layer = FP32 * counts.adapter / shape.layers
            if settings.accumulation > 1:
                return cls(every, every, 0.0, 0.0, 0.0, every)
            return cls(every, 0.0, layer, layer, 0.0, every)
        # Those of a tied head and its embedding meet at the end: two tables and their sum.
        both = 2 * table if shape.tied_embeddings else 0.0
        if settings.accumulation > 1:
            return cls(every, every, 0.0, 0.0, table, every + both + table)
        layer = FP32 * counts.linear / shape.layers
        out = FP32 * shape.hidden_size * shape.query_width
        mlp = FP32 * 3.0 * shape.hidden_size * shape.intermediate_size + out
        return cls(every, 0.0, layer, mlp, table, every + both)


def _forward(shape: Geometry, work: Pass) -> float:
    """Bytes that come and go at the end of the forward pass: the last layer's `down_proj`.

    In half precision PEFT turns its input into fp32 before autocast turns it back.
    """
    wide, hidden, c = shape.intermediate_size, shape.hidden_size, work.number
    if work.half and work.has("down_proj") and not work.full:
        passing = 6 * wide + 8 * hidden
    elif work.has("down_proj"):
        passing = c * max(2 * hidden, wide - hidden)
    else:
        passing = c * (wide + hidden)
    if work.dora:  # the update as a full matrix, from an identity matrix as its input
        return passing * work.tokens + FP32 * (wide * wide + 3.0 * wide * hidden)
    return float(passing * work.tokens)


def _mlp_backward(shape: Geometry, work: Pass) -> float:
    """Bytes of the gradients inside one MLP, less its output's input, which is freed by then."""
    wide, hidden = shape.intermediate_size, shape.hidden_size
    own = work.number * wide * (2 if work.has("down_proj") else 3)
    if work.half:  # the backward pass of a norm is in fp32
        own = max(own, 22 * hidden)
    return float(own * work.tokens)


def _attention_backward(shape: Geometry, work: Pass) -> float:
    """Bytes of the gradients of attention's output, queries, keys and values."""
    return float(work.number * work.tokens * 2 * (shape.query_width + shape.key_width))


def _dequantised(shape: Geometry, settings: Settings) -> float:
    """Bytes of the largest 4-bit matrix while it is multiplied with."""
    if settings.quantization is None:
        return 0.0
    return float(settings.work.number * shape.hidden_size * shape.intermediate_size)


def _loss(shape: Geometry, settings: Settings) -> tuple[float, float]:
    """Return the bytes of logits, and of trained tokens' hidden states, in the loss.

    Logits exist in tiles, in fp32 and, where products are in 16 bits, in those too. Of each
    trained token there are its hidden state, its gradient and its label's row of the head.
    """
    work = settings.work
    trained = settings.trained_share * work.tokens
    extra = 2 if work.half else 0
    pieces = math.ceil(shape.vocabulary * trained / TILE_LOGITS)
    rows = shape.vocabulary / max(1, pieces)  # of the head, in a tile
    tile = rows * trained
    logits = (FP32 + extra) * tile
    if work.half and (work.full or work.on_cpu):
        # A head in fp32 is made 16 bits piece by piece; a CPU multiplies both factors in fp32.
        logits += 2 * rows * shape.hidden_size if work.full else 0
        logits += FP32 * (tile + rows * shape.hidden_size) if work.on_cpu else 0
    return logits, (2 * FP32 + work.number + extra) * trained * shape.hidden_size
