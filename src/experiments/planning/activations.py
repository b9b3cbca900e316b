"""Compute the bytes that the layers keep from a forward pass for the backward pass.

The tensors are counted one by one from the llama, qwen2 and qwen3 layers of transformers (5.23),
the LoRA layers of PEFT (0.21) and torch's attention (2.13): an operation keeps what its derivative
needs. N tokens = rows x padded length, `c` = bytes per number in the run's precision. A test
compares the sum with the tensors that are alive after a real forward pass.

Two effects make half precision cost more than half of fp32: norms keep an fp32 copy of their
input, and autocast makes a new copy of the input for every adapter.
"""

from dataclasses import dataclass

from experiments.config.geometry import Geometry

FP32 = 4
_LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass, and the parameters trained in it."""

    rows: int
    length: int
    """Padded length, in tokens."""
    precision: str
    """`fp32`, `bf16` or `fp16`."""
    adapted: frozenset[str]
    """Leaf names of the linear layers with an adapter; empty for full fine-tuning."""
    full: bool = False
    r: int = 0
    dropout: bool = False
    dora: bool = False
    checkpointing: bool = False
    padded: bool = True
    """Whether rows of a pass differ in length, so that attention needs a mask."""
    attention: str = "sdpa"
    on_cpu: bool = True

    @property
    def tokens(self) -> int:
        """N: token positions of the pass, including padding."""
        return self.rows * self.length

    @property
    def half(self) -> bool:
        """Whether matrix products use 16 bits."""
        return self.precision != "fp32"

    @property
    def number(self) -> int:
        """Bytes per number in a matrix product."""
        return 2 if self.half else FP32

    @property
    def residual(self) -> int:
        """Bytes per number in the residual stream, which full fine-tuning keeps in fp32."""
        return FP32 if self.full else self.number

    def has(self, *leaves: str) -> int:
        """Return how many of these linear layers have an adapter or are trained themselves."""
        return len(leaves) if self.full else sum(leaf in self.adapted for leaf in leaves)


@dataclass(frozen=True)
class Kept:
    """Bytes that one layer keeps for the backward pass."""

    attention: float
    mlp: float

    @property
    def all(self) -> float:
        """Bytes of attention and MLP together."""
        return self.attention + self.mlp


def layer(shape: Geometry, work: Pass) -> Kept:
    """Return the bytes that one layer keeps, except its input, which another layer produced."""
    attention: float = _inputs(work, shape.hidden_size, "q_proj", "k_proj", "v_proj")
    attention += _norm(work, shape.hidden_size) + _heads(shape, work)
    attention += _adapters(shape, work, *_LINEAR_LAYERS[:4])
    wide, c = shape.intermediate_size, work.number
    mlp = _inputs(work, shape.hidden_size, "gate_proj", "up_proj")
    mlp += _norm(work, shape.hidden_size)
    mlp += 3 * c * wide + _inputs(work, wide, "down_proj")  # gate, SiLU(gate) and up
    mlp += _adapters(shape, work, *_LINEAR_LAYERS[4:])
    n = work.tokens
    return Kept(attention * n + _scores(shape, work), mlp * n)


def _norm(work: Pass, width: int, groups: int = 1) -> int:
    """Return bytes per token of an RMS norm: fp32 input, 1/rms, and its output if it is trained.

    The norm of a head (`groups`) reads a matrix product; the others read the residual stream.
    """
    output = work.residual if groups == 1 else work.number
    return FP32 * width + FP32 * groups + (output * width if work.full else 0)


def _inputs(work: Pass, width: int, *leaves: str) -> float:
    """Return the bytes per token that linear layers keep of a shared input.

    In fp32 they share it. Autocast makes a copy for each layer, and dropout a copy with its mask.
    """
    trained = work.has(*leaves)
    if work.dropout and not work.full:
        mask = FP32 if work.on_cpu else 1
        return trained * (work.number + mask + (FP32 if work.half else 0)) * width
    return work.number * width * (trained if work.half else min(1, trained))


def _heads(shape: Geometry, work: Pass) -> float:
    """Return bytes per token between the projections: head norms, rotation, and attention."""
    c, q, kv = work.number, shape.query_width, shape.key_width
    repeated = q if work.padded and shape.heads != shape.kv_heads else kv
    bytes_per_token: float = c * q + 2 * c * repeated + c * q  # rotated q, k, v and the output
    if work.half and not (work.full or work.dropout):
        bytes_per_token += (
            work.has("o_proj") * c * q
        )  # autocast's copy of the output for the adapter
    if shape.has_head_norms:
        bytes_per_token += _norm(work, q, shape.heads) + _norm(work, kv, shape.kv_heads)
    return bytes_per_token + FP32 * shape.heads  # log-sum-exp of each softmax


def _scores(shape: Geometry, work: Pass) -> float:
    """Return the bytes that grow with the square of the length."""
    square = work.tokens * work.length
    if work.attention == "eager":  # softmax in fp32, and a copy in the run's precision
        return square * shape.heads * (FP32 + (2 if work.half else 0))
    return square * work.number if work.padded else 0.0  # each layer's mask, as numbers


def _adapters(shape: Geometry, work: Pass, *leaves: str) -> float:
    """Return bytes per token of adapters: A's output; for DoRA also both terms of each output."""
    if work.full:
        return 0.0
    bytes_per_token = 0.0
    for leaf in leaves:
        if leaf in work.adapted:
            bytes_per_token += work.number * work.r
            bytes_per_token += 2 * work.number * _outputs(shape, leaf) if work.dora else 0
    return bytes_per_token


def _outputs(shape: Geometry, leaf: str) -> int:
    if leaf in ("o_proj", "down_proj"):
        return shape.hidden_size
    if leaf in ("gate_proj", "up_proj"):
        return shape.intermediate_size
    return shape.query_width if leaf == "q_proj" else shape.key_width


def last_norm(shape: Geometry, work: Pass) -> float:
    """Return the bytes kept after the layers: the last norm's input, and the hidden states."""
    per_token = _norm(work, shape.hidden_size) + work.residual * shape.hidden_size
    return float(per_token * work.tokens)


def buffers(shape: Geometry, work: Pass) -> float:
    """Return the bytes of the rotary tables, and of ids, labels and mask."""
    return 2.0 * work.residual * shape.head_dim * work.length + 3 * 8 * work.tokens


def bytes_first_layer_does_not_save(shape: Geometry, work: Pass) -> float:
    """Return the bytes that the first layer does not keep, as nothing before it is trained."""
    if work.full or work.checkpointing:  # with checkpointing, the embeddings require a gradient
        return 0.0
    if not work.has(*_LINEAR_LAYERS[:4]):
        return layer(shape, work).attention + _norm(work, shape.hidden_size) * work.tokens
    per_token = _norm(work, shape.hidden_size)
    if shape.has_head_norms:
        per_token += 0 if work.has("q_proj") else _norm(work, shape.query_width, shape.heads)
        per_token += 0 if work.has("k_proj") else _norm(work, shape.key_width, shape.kv_heads)
    return float(per_token * work.tokens)


def stored_inputs(shape: Geometry, work: Pass) -> float:
    """Return the bytes that gradient checkpointing keeps of one layer: its input."""
    return float(work.residual * shape.hidden_size * work.tokens)
