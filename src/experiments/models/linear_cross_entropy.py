"""Compute the NLL of each trained token, in nats, from hidden states, LM head and labels.

The logits are the largest tensor of a batch: 4 x 1,024 tokens with a vocabulary of 151,936 take 2.5
GB in fp32, and cross-entropy keeps three such tensors. Here, hidden states of tokens that are not
trained are never multiplied by the head, and the others are processed in tiles of tokens x
vocabulary, with one tile in memory at a time.

One pass over the vocabulary computes value and gradient. With z = logits of a token whose label is
t, p = softmax(z), and w_v the head's row v:

    NLL = logsumexp(z) - z_t        dNLL/dh = sum over v of p_v w_v - w_t

The sum over v has the form of attention from the hidden state to the rows of the head, so it is
accumulated in the same way, with a running maximum (Milakov and Gimelshein, arXiv 1805.02867; Dao
et al., arXiv 2205.14135). This takes two matrix products per tile, and the backward pass recomputes
no logits. The label is left out of the sums and added at the end as -(1 - p_t) w_t, where 1 - p_t
is computed as a sum and not as a difference, so that well-predicted tokens keep their gradient in
half precision too. If the head is trained, the backward pass makes a second pass over the
vocabulary, because the gradient of a token needs its complete softmax.

Cut cross-entropy (Wijmans et al., arXiv 2411.09009) is the reference for losses without logits.

Shapes: B rows, L positions, X = B x L, N trained tokens, H hidden size, V vocabulary, T tile width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from experiments.models.vocabulary_tiles import (
    Head,
    Tile,
    Tiles,
    Tokens,
    blocks,
    hidden_of_block,
    statistics_dtype,
)

__all__ = ["IGNORED", "TILE_LOGITS", "Head", "token_nll"]

IGNORED = -100
"""Label of a token that is not trained."""
# Number of logits in memory at once: 17 MB in fp32. On a CPU core, 2^20 to 2^22 took the time of
# the matrix products within 5 %, and 2^25 took 10 % more; smaller tiles would only add kernel
# launches on a GPU.
TILE_LOGITS = 1 << 22


@dataclass(frozen=True)
class _Sums:
    """Results of the pass over the vocabulary for each token, in the order of `Tokens`."""

    nll_N1: Tensor
    logsumexp_N1: Tensor
    missing_N1: Tensor
    """1 - p of the label."""
    gradient_NH: Tensor | None
    """dNLL / d hidden state; None if it is not needed."""

    def of(self, block: slice) -> "_Sums":
        """Return views of the tokens in a block."""
        gradient = None if self.gradient_NH is None else self.gradient_NH[block]
        return _Sums(self.nll_N1[block], self.logsumexp_N1[block], self.missing_N1[block], gradient)


def token_nll(
    hidden_XH: Tensor, head: Head, label_X: Tensor, *, tile_logits: int = TILE_LOGITS
) -> Tensor:
    """Return the NLL of each trained token in nats, shape (N,), in position order.

    Differentiable with respect to the hidden states and the head's weight, bias and adapter.
    Statistics are fp32 (fp64 for fp64 hidden states). Matrix products use the autocast dtype if
    autocast is on, else the dtype of the hidden states, as the head itself would.

    Args:
        hidden_XH: the input of the head, continued by that of its adapter's B if it has one.
        head: the LM head.
        label_X: the token that each hidden state predicts, or -100.
        tile_logits: number of logits in memory at once.

    Raises:
        DataError: a label is outside the vocabulary.
    """
    position_N = (label_X != IGNORED).nonzero().squeeze(1)
    label_N, order_N = label_X[position_N].sort()
    device_type = hidden_XH.device.type
    autocast = torch.is_autocast_enabled(device_type)
    tokens = Tokens(
        position_N=position_N[order_N],
        label_N=label_N,
        order_N=order_N,
        scale=head.scale,
        softcap=head.softcap,
        dtype=torch.get_autocast_dtype(device_type) if autocast else hidden_XH.dtype,
        tile_logits=tile_logits,
        gradient=torch.is_grad_enabled() and hidden_XH.requires_grad,
    )
    apply: Any = _TokenNll.apply
    nll_N: Tensor = apply(hidden_XH, head.weight_VH, head.bias_V, head.update_VR, tokens)
    return nll_N


class _TokenNll(torch.autograd.Function):
    """NLL of the trained tokens; the forward pass also computes the hidden states' gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_XH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        update_VR: Tensor | None,
        tokens: Tokens,
    ) -> Tensor:
        """Return the NLL of each token, shape (N,)."""
        count, dtype = len(tokens.label_N), statistics_dtype(hidden_XH.dtype)
        nll_N1, logsumexp_N1, missing_N1 = hidden_XH.new_empty((3, count, 1), dtype=dtype)
        gradient_NH = None
        if tokens.gradient:
            gradient_NH = hidden_XH.new_zeros((count, hidden_XH.shape[1]), dtype=dtype)
        sums = _Sums(nll_N1, logsumexp_N1, missing_N1, gradient_NH)
        with torch.autocast(hidden_XH.device.type, enabled=False):
            for block in blocks(tokens):
                hidden_NH = hidden_of_block(hidden_XH, tokens, block)
                tiles = Tiles(hidden_NH, weight_VH, bias_V, update_VR, tokens, block)
                _sum(tiles, sums.of(block))
        ctx.tokens = tokens
        statistics = (logsumexp_N1, missing_N1, gradient_NH)
        ctx.save_for_backward(hidden_XH, weight_VH, bias_V, update_VR, *statistics)
        return torch.empty_like(sums.nll_N1[:, 0]).index_copy_(0, tokens.order_N, sums.nll_N1[:, 0])

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_N: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, None]:
        """Return the gradients for hidden states, weight, bias and the adapter's B."""
        hidden_XH, weight_VH, bias_V, update_VR, *statistics = ctx.saved_tensors
        logsumexp_N1, missing_N1, gradient_NH = statistics
        tokens: Tokens = ctx.tokens
        factor_N1 = grad_N[tokens.order_N].unsqueeze(1)
        hidden_gradient = None
        if ctx.needs_input_grad[0]:
            hidden_gradient = torch.zeros_like(hidden_XH)
            scaled_NH = (gradient_NH * factor_N1).to(hidden_XH.dtype)
            hidden_gradient.index_copy_(0, tokens.position_N, scaled_NH)
        parameters, needed = (weight_VH, bias_V, update_VR), ctx.needs_input_grad[1:4]
        dtype = statistics_dtype(hidden_XH.dtype)
        gradients = _HeadGradients(
            *(
                torch.zeros_like(parameter, dtype=dtype) if needs else None
                for parameter, needs in zip(parameters, needed, strict=True)
            )
        )
        if any(needed):
            sums = _Sums(factor_N1, logsumexp_N1, missing_N1, None)
            with torch.autocast(hidden_XH.device.type, enabled=False):
                for block in blocks(tokens):
                    hidden_NH = hidden_of_block(hidden_XH, tokens, block)
                    tiles = Tiles(hidden_NH, weight_VH, bias_V, update_VR, tokens, block)
                    _add_head_gradients(tiles, sums.of(block), gradients)
        weight_gradient, bias_gradient, update_gradient = (
            None if gradient is None else gradient.to(parameter.dtype)
            for parameter, gradient in zip(parameters, gradients.all(), strict=True)
        )
        return hidden_gradient, weight_gradient, bias_gradient, update_gradient, None


@dataclass(frozen=True)
class _HeadGradients:
    """Gradients of the head's parameters, summed over blocks; None if they are not needed."""

    weight_VH: Tensor | None
    bias_V: Tensor | None
    update_VR: Tensor | None

    def all(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the gradients in the order of the parameters."""
        return self.weight_VH, self.bias_V, self.update_VR


def _sum(tiles: Tiles, sums: _Sums) -> None:
    """Fill `sums` in one pass over the vocabulary; its gradient must be zero on entry."""
    label_z_N1, label_slope_N1 = torch.zeros_like(sums.nll_N1), torch.ones_like(sums.nll_N1)
    rest_N1 = torch.zeros_like(label_z_N1)  # sum of exp(z - top) over all tokens except the label
    top_N1 = torch.full_like(label_z_N1, torch.finfo(label_z_N1.dtype).min)
    gradient_NH = sums.gradient_NH
    for tile in tiles:
        z_NT, rows = tile.z_NT, tile.rows
        label_z_N1[rows] = z_NT[rows].gather(1, tile.column)
        if tile.slope_NT is not None:
            label_slope_N1[rows] = tile.slope_NT[rows].gather(1, tile.column)
        z_NT[rows].scatter_(1, tile.column, -torch.inf)
        new_top_N1 = torch.maximum(top_N1, z_NT.amax(1, keepdim=True))
        rescale_N1 = (top_N1 - new_top_N1).exp_()
        top_N1 = new_top_N1
        z_NT.sub_(top_N1).exp_()
        rest_N1.mul_(rescale_N1).add_(z_NT.sum(1, keepdim=True))
        if gradient_NH is not None:
            z_NT = z_NT if tile.slope_NT is None else z_NT.mul_(tile.slope_NT)
            _add_product(gradient_NH.mul_(rescale_N1), _as_factor(tile), tile.weight_TH)
    new_top_N1 = torch.maximum(top_N1, label_z_N1)
    rescale_N1 = (top_N1 - new_top_N1).exp_()
    rest_N1.mul_(rescale_N1)
    total_N1 = rest_N1 + (label_z_N1 - new_top_N1).exp_()
    sums.logsumexp_N1.copy_(new_top_N1 + total_N1.log())
    # Exact if the label is the argmax.
    sums.nll_N1.copy_((new_top_N1 - label_z_N1) + total_N1.log())
    sums.missing_N1.copy_(rest_N1 / total_N1)
    if gradient_NH is not None:
        label_weight_NH = tiles.weight_rows(tiles.label_N, gradient_NH.dtype)
        gradient_NH.mul_(rescale_N1 / total_N1)
        gradient_NH.addcmul_(label_weight_NH, sums.missing_N1 * label_slope_N1, value=-1)
        gradient_NH.mul_(tiles.tokens.scale)


def _add_head_gradients(tiles: Tiles, sums: _Sums, gradients: _HeadGradients) -> None:
    """Add a block's part of the head's gradients; `sums.nll_N1` contains dLoss/dNLL."""
    factor_N1 = sums.nll_N1 * tiles.tokens.scale
    width = tiles.weight_VH.shape[1]
    hidden_NH, adapter_NR = tiles.hidden_NH[:, :width], tiles.hidden_NH[:, width:]
    for tile in tiles:
        z_NT, rows = tile.z_NT, tile.rows
        z_NT.sub_(sums.logsumexp_N1).exp_()
        z_NT[rows].scatter_(1, tile.column, -sums.missing_N1[rows])
        z_NT.mul_(factor_N1)
        if tile.slope_NT is not None:
            z_NT.mul_(tile.slope_NT)
        if gradients.bias_V is not None:
            gradients.bias_V[tile.columns] += z_NT.sum(0)
        factor_TN = _as_factor(tile).t()
        if gradients.weight_VH is not None:
            _add_product(gradients.weight_VH[tile.columns], factor_TN, hidden_NH)
        if gradients.update_VR is not None:
            _add_product(gradients.update_VR[tile.columns], factor_TN, adapter_NR)


def _as_factor(tile: Tile) -> Tensor:
    """Return `z_NT` in the dtype of the matrix products."""
    in_product_dtype = tile.product_NT is tile.z_NT
    return tile.z_NT if in_product_dtype else tile.product_NT.copy_(tile.z_NT)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a total without first rounding the product to half precision."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif total.is_cuda:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:  # no CPU kernel multiplies half-precision factors into fp32
        total.addmm_(left.to(total.dtype), right.to(total.dtype))
