"""Estimate the peak memory of a training step, part by part.

Persistent memory (weights, adapters, optimizer states) is summed. Temporary memory is computed for
the moments of a step at which the peak can occur: the end of the forward pass, the loss, the
backward passes of the last and the first layer, and the optimizer. The result names the moment of
the peak.

Optimizer states: AdamW keeps two fp32 numbers per trained parameter; 8-bit AdamW (arXiv 2110.02861)
two bytes, and two fp32 scales per 256 parameters. NF4 with double quantisation takes 4 bits, one
byte per 64 weights and one fp32 scale per 256 of those bytes: 4.127 bits per weight (arXiv
2305.14314, section 3).
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
"""Number of logits that the loss computes at a time."""
_STATE_BYTES = {"adamw": 8.0, "adamw_8bit": 2 + 2 * FP32 / 256, "sgd": 0.0}
# Resident memory of a CPU beyond the tensors: buffers of matrix products, and memory that the
# allocator has freed but not returned, which grows with the layers. Fitted to the measurements in
# outputs/reports/memory, of which `tests/planning/test_memory.py` recomputes both errors.
_SLACK_BYTES, _SLACK_LOGITS, _SLACK_HIDDEN, _SLACK_RECOMPUTED = 180e6, 1.5, 5.1, 0.29
TENSOR_ERROR, RESIDENT_ERROR = 0.010, 0.18
"""Largest errors of predicted tensors and of predicted resident memory that were measured on a
CPU."""
GPU_SLACK = 0.1
"""Share of the tensors that an allocator on a GPU reserves in addition; assumed, not measured."""
# Memory of CUDA and cuBLAS in addition to tensors; not verified on a GPU.
CUDA_CONTEXT_BYTES = 450 * 2**20


@dataclass(frozen=True)
class StepSettings:
    """Everything except the shape that determines memory."""

    work: Pass
    optimizer: str = "adamw"
    trained_share: float = 1.0
    """Share of the tokens that have a label, 0-1."""
    accumulation: int = 1
    quantization: str | None = None
    """`nf4`, or None."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training step."""

    weights: float
    adapters: float
    optimizer: float
    gradients: float
    activations: float
    """Activations kept by the layers, and temporary ones at the peak."""
    logits: float
    buffers: float
    """Rotary tables and ids; on a GPU also the CUDA context."""
    slack: float
    """Memory that no tensor uses: buffers of kernels, and what the allocator keeps; without
    Python and its libraries."""
    moment: str
    """The moment of the step at which the peak occurs."""

    @property
    def resident(self) -> float:
        """Bytes that the process holds: all tensors and the slack."""
        return self.total + self.slack

    @property
    def total(self) -> float:
        """The sum of all parts; tensors and, on a GPU, the CUDA context."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return the bytes of each part by name."""
        tree = dataclasses.asdict(self)
        del tree["moment"], tree["slack"]
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


def estimate(shape: Geometry, counts: Counts, settings: StepSettings) -> Memory:
    """Return the memory of a training step after the first, when optimizer states exist."""
    work = settings.work
    peak = max(_moments(shape, counts, settings), key=lambda moment: moment.total)
    found = Memory(
        weights=weights(shape, counts, settings),
        adapters=0.0 if work.full else FP32 * counts.trainable,
        optimizer=_STATE_BYTES[settings.optimizer] * counts.trainable,
        gradients=peak.gradients,
        activations=peak.activations,
        logits=peak.logits,
        buffers=activations.buffers(shape, work) + (0 if work.on_cpu else CUDA_CONTEXT_BYTES),
        slack=0.0,
        moment=peak.name,
    )
    return dataclasses.replace(found, slack=_slack(shape, work, found))


def _slack(shape: Geometry, work: Pass, found: Memory) -> float:
    """Return the bytes that the process holds beyond its tensors."""
    if not work.on_cpu:
        return GPU_SLACK * (found.total - CUDA_CONTEXT_BYTES)
    hidden = FP32 * shape.hidden_size * work.tokens * shape.layers
    recomputed = activations.layer(shape, work).all * shape.layers * work.checkpointing
    layers = _SLACK_HIDDEN * hidden + _SLACK_RECOMPUTED * recomputed
    return _SLACK_BYTES + _SLACK_LOGITS * found.logits + layers


def weights(shape: Geometry, counts: Counts, settings: StepSettings) -> float:
    """Return the bytes of the base: fp32 if trained or computed in fp32, else 16-bit numbers."""
    size = FP32 if settings.work.full else settings.work.number
    if settings.quantization is None:
        return float(size * counts.total)
    rest = counts.total - counts.linear
    return counts.linear * NF4_BITS / 8 + size * rest


def _moments(shape: Geometry, counts: Counts, settings: StepSettings) -> list[_Moment]:
    work = settings.work
    forward = _ForwardBytes.of(shape, counts, work)
    gradients = _Gradients.of(shape, counts, settings)
    hidden = float(shape.hidden_size * work.tokens)
    logits, selected = _loss(shape, settings)
    down = FP32 * shape.hidden_size * shape.intermediate_size if work.full else 0.0
    upstream = work.residual * hidden + _dequantised(shape, settings)
    in_mlp = upstream + _mlp_backward(shape, work) + forward.recomputed
    last = forward.all + activations.last_norm(shape, work)
    moments = [
        _Moment("forward pass", gradients.held, forward.all + _forward(shape, work)),
        _Moment("loss", gradients.held, last + selected, logits),
    ]
    for name, layers_done in (("last layer", 0), ("first layer", forward.layers - 1)):
        activation_bytes = forward.all - layers_done * forward.layer
        gradient_bytes = gradients.held + gradients.head + layers_done * gradients.layer
        moments.append(
            _Moment(f"backward pass, {name}", gradient_bytes + down, activation_bytes + in_mlp)
        )
        if work.full:
            activation_bytes += (
                forward.recomputed - forward.mlp + upstream + _attention_backward(shape, work)
            )
            moments.append(
                _Moment(f"backward pass, {name}", gradient_bytes + gradients.mlp, activation_bytes)
            )
    moments.append(_Moment("end of backward pass", gradients.at_the_end))
    moments.append(_Moment("optimizer", gradients.all))
    return moments


@dataclass(frozen=True)
class _ForwardBytes:
    """Bytes that are kept from the forward pass to the backward pass."""

    all: float
    layer: float
    """Bytes freed after the backward pass of each layer."""
    mlp: float
    recomputed: float
    """Bytes that checkpointing recomputes for the current layer."""
    layers: int

    @classmethod
    def of(cls, shape: Geometry, counts: Counts, work: Pass) -> "_ForwardBytes":
        layer = activations.layer(shape, work)
        copies = _autocast_copies(counts, work) / shape.layers
        first_layer = min((_layer_of(a.on.name) for a in counts.adapters), default=0)
        layers = shape.layers - (0 if work.full or work.checkpointing else first_layer)
        if work.checkpointing:
            stored = activations.stored_inputs(shape, work)
            recomputed = layer.all + copies - (0 if work.half and not work.full else stored)
            return cls(stored * layers, stored, layer.mlp, recomputed, layers)
        total = (layer.all + copies) * layers - activations.bytes_first_layer_does_not_save(
            shape, work
        )
        return cls(total, layer.all + copies, layer.mlp, 0.0, layers)


def _layer_of(name: str) -> int:
    """Return the layer index of a module; the head gets a very large index.

    >>> _layer_of("model.layers.3.mlp.up_proj")
    3
    """
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["model", "layers"] else 10**6


def _autocast_copies(counts: Counts, work: Pass) -> float:
    """Return the bytes of autocast's 16-bit copies of trained weights in the layers.

    The copies of a layer are kept until its backward pass.
    """
    if not work.half:
        return 0.0
    return 2.0 * (counts.linear if work.full else counts.adapter)


@dataclass(frozen=True)
class _Gradients:
    """Bytes of the gradients of trained parameters, all in fp32."""

    all: float
    held: float
    """Bytes before the backward pass, from earlier micro-batches."""
    layer: float
    """Bytes added with each layer."""
    mlp: float
    """Bytes added once a layer's MLP and output projection are done."""
    head: float
    """Bytes for the head, created by the loss."""
    at_the_end: float

    @classmethod
    def of(cls, shape: Geometry, counts: Counts, settings: StepSettings) -> "_Gradients":
        total = float(FP32 * counts.trainable)
        table = float(FP32 * shape.vocabulary * shape.hidden_size)
        if not settings.work.full:
            layer = FP32 * counts.adapter / shape.layers
            if settings.accumulation > 1:
                return cls(total, total, 0.0, 0.0, 0.0, total)
            return cls(total, 0.0, layer, layer, 0.0, total)
        frozen = counts.total - counts.trainable  # the input embedding, or nothing
        if frozen and shape.tied_embeddings:
            table = 0.0
        # The gradients of a tied head and its embedding are added at the end: two tables and a sum.
        both = 2 * table if shape.tied_embeddings else 0.0
        if settings.accumulation > 1:
            return cls(total, total, 0.0, 0.0, table, total + both + table)
        layer = FP32 * counts.linear / shape.layers
        out = FP32 * shape.hidden_size * shape.query_width
        mlp = FP32 * 3.0 * shape.hidden_size * shape.intermediate_size + out
        return cls(total, 0.0, layer, mlp, table, total + both)


def _forward(shape: Geometry, work: Pass) -> float:
    """Return the temporary bytes at the end of the forward pass, for the last `down_proj`.

    In half precision, PEFT casts its input to fp32 before autocast casts it back.
    """
    wide, hidden, c = shape.intermediate_size, shape.hidden_size, work.number
    if work.half and work.has("down_proj") and not work.full:
        per_token = 6 * wide + 8 * hidden
    elif work.has("down_proj"):
        per_token = c * max(2 * hidden, wide - hidden)
    else:
        per_token = c * (wide + hidden)
    if work.dora:  # the update is computed as a full matrix, from an identity matrix as input
        return per_token * work.tokens + FP32 * (wide * wide + 3.0 * wide * hidden)
    return float(per_token * work.tokens)


def _mlp_backward(shape: Geometry, work: Pass) -> float:
    """Return the bytes of the gradients in one MLP, without the freed input of its output layer."""
    wide, hidden = shape.intermediate_size, shape.hidden_size
    per_token = work.number * wide * (2 if work.has("down_proj") else 3)
    if work.half:  # the backward pass of a norm is in fp32
        per_token = max(per_token, 22 * hidden)
    return float(per_token * work.tokens)


def _attention_backward(shape: Geometry, work: Pass) -> float:
    """Return the bytes of the gradients of attention's output, queries, keys and values."""
    return float(work.number * work.tokens * 2 * (shape.query_width + shape.key_width))


def _dequantised(shape: Geometry, settings: StepSettings) -> float:
    """Return the bytes of the largest 4-bit matrix while it is dequantised for a product."""
    if settings.quantization is None:
        return 0.0
    return float(settings.work.number * shape.hidden_size * shape.intermediate_size)


def _loss(shape: Geometry, settings: StepSettings) -> tuple[float, float]:
    """Return the bytes of logits, and of trained tokens' hidden states, in the loss.

    Logits are computed in tiles, in fp32 and additionally in 16 bits if products use 16 bits. For
    each trained token there are its hidden state, its gradient and its label's row of the head.
    """
    work = settings.work
    trained = settings.trained_share * work.tokens
    extra = 2 if work.half else 0
    pieces = math.ceil(shape.vocabulary * trained / TILE_LOGITS)
    rows = shape.vocabulary / max(1, pieces)  # rows of the head in a tile
    tile = rows * trained
    logits = (FP32 + extra) * tile
    if work.half and (work.full or work.on_cpu):
        # An fp32 head is cast to 16 bits in pieces; a CPU multiplies both factors in fp32.
        logits += 2 * rows * shape.hidden_size if work.full else 0
        logits += FP32 * (tile + rows * shape.hidden_size) if work.on_cpu else 0
    return logits, (2 * FP32 + work.number + extra) * trained * shape.hidden_size
