"""Compute the floating-point operations and hours of a run.

A weight costs one multiply-add per token in the forward pass, one for the gradient of its input
and one for its own gradient (2N and 4N operations per token: Kaplan et al., arXiv 2001.08361,
section 2.1). LoRA skips the weight gradients of the base; an adapter of rank R on an N x N matrix
adds 6NR multiply-adds: 2N^2 + 6NR instead of 3N^2 (Schulman et al., "LoRA Without Regret", 2025).
Attention adds 4 x length x query width per token and layer in the forward pass, and twice that in
the backward pass. Gradient checkpointing repeats the forward pass of the layers. The head is
computed for trained tokens only. Norms and softmax are left out.
"""

from dataclasses import dataclass

from experiments.config.geometry import Geometry
from experiments.planning.activations import Pass
from experiments.planning.parameters import Counts


@dataclass(frozen=True)
class Cost:
    """The cost of a training run."""

    flops_per_token: float
    flops: float
    """Of training only."""
    hours: float | None
    """Of training only; None if the speed of the device is unknown."""


def flops_per_token(shape: Geometry, counts: Counts, work: Pass, trained_share: float) -> float:
    """Return the operations of a training step per token, without padding.

    Args:
        shape: the shape of the model.
        counts: its parameters.
        work: one pass; its length is used as the mean length.
        trained_share: share of the tokens for which the head is computed.
    """
    head = shape.vocabulary * shape.hidden_size * trained_share
    base, scores = 2 * counts.linear, _attention(shape, work)
    forward = base + scores + 2 * counts.adapter
    backward = base + 2 * scores + 4 * counts.adapter
    if work.full:
        backward += base
    recomputation = forward if work.checkpointing else 0
    head_is_frozen = shape.tied_embeddings and counts.trainable < counts.total
    trains_head = counts.copies >= shape.vocabulary * shape.hidden_size
    if work.full:
        trains_head = not head_is_frozen
    return forward + backward + recomputation + (6 if trains_head else 4) * head


def loss_flops_per_token(
    shape: Geometry, counts: Counts, work: Pass, trained_share: float
) -> float:
    """Return the operations of a loss without gradients per token, without padding."""
    head = shape.vocabulary * shape.hidden_size * trained_share
    return 2 * counts.linear + _attention(shape, work) + 2 * counts.adapter + 2 * head


def _attention(shape: Geometry, work: Pass) -> int:
    """Return the operations of attention per token in the forward pass."""
    return 4 * work.length * shape.query_width * shape.layers


def cost(per_token: float, tokens: float, rate: float | None) -> Cost:
    """Return operations and hours; `rate` is in operations per second."""
    flops = per_token * tokens
    return Cost(per_token, flops, None if rate is None else flops / rate / 3600)
