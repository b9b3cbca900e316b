"""Compute the logits of trained tokens in tiles of the vocabulary, one tile in memory at a time.

The head may have a LoRA adapter. Its logits are then those of a head with wider rows: the hidden
state h is continued by the adapter's r values scale x A h, and row v of the head's weight by row v
of B, so that [h, u] [W, B]' = h W' + u B'. The rows are joined tile by tile; no second copy of the
head exists.

Shapes: X positions, N trained tokens, H hidden size (with an adapter: of h and u together), R rank
of the head's adapter, V vocabulary, T tile width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.errors import DataError

# More tokens at once would make the tiles too narrow: 4,096 tokens leave 1,024 columns.
_BLOCK_TOKENS = 4096


@dataclass(frozen=True)
class Head:
    """The LM head. Its logits are softcap x tanh(scale x (h W' + u B' + b) / softcap)."""

    weight_VH: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    update_VR: Tensor | None = None
    """B of the head's adapter; the hidden states are then h, continued by u = A h times the
    adapter's scale."""


@dataclass(frozen=True)
class Tokens:
    """The trained tokens, sorted by label, so that those of one vocabulary tile are contiguous."""

    position_N: Tensor
    """Their indices among the X positions."""
    label_N: Tensor
    order_N: Tensor
    """Their indices among the trained tokens."""
    scale: float
    softcap: float | None
    dtype: torch.dtype
    """Dtype of the matrix products."""
    tile_logits: int
    gradient: bool
    """Whether the gradient of the hidden states is needed."""


@dataclass(frozen=True)
class Tile:
    """The logits of all tokens of a block for one piece of the vocabulary."""

    columns: slice
    weight_TH: Tensor
    """Rows of the head, continued by those of its adapter's B if it has one."""
    z_NT: Tensor
    """Logits in fp32 or better; may be overwritten."""
    slope_NT: Tensor | None
    """d logit / d (scale x (h W' + u B' + b)); None if it is 1."""
    rows: slice
    """The tokens whose label is in this tile."""
    column: Tensor
    """The columns of their labels in this tile, shape (rows, 1)."""
    product_NT: Tensor
    """Buffer for the tile in the dtype of the matrix products; may be `z_NT`."""


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the softmax's statistics: at least fp32."""
    return torch.promote_types(dtype, torch.float32)


def blocks(tokens: Tokens) -> list[slice]:
    """Return slices of the trained tokens, each of the tokens that are processed at once."""
    count = len(tokens.label_N)
    return [
        slice(start, min(start + _BLOCK_TOKENS, count)) for start in range(0, count, _BLOCK_TOKENS)
    ]


def hidden_of_block(hidden_XH: Tensor, tokens: Tokens, block: slice) -> Tensor:
    """Return the hidden states of a block of tokens, in the dtype of the matrix products."""
    return hidden_XH[tokens.position_N[block]].to(tokens.dtype)


@dataclass(frozen=True)
class Tiles:
    """The logits of a block of tokens, one piece of the vocabulary at a time."""

    hidden_NH: Tensor
    weight_VH: Tensor
    bias_V: Tensor | None
    update_VR: Tensor | None
    tokens: Tokens
    block: slice

    @property
    def label_N(self) -> Tensor:
        """The labels of the block."""
        return self.tokens.label_N[self.block]

    def weight_rows(self, rows: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Return rows of the head's weight, continued by those of its adapter's B."""
        weight = self.weight_VH[rows].to(dtype)
        if self.update_VR is None:
            return weight
        return torch.cat([weight, self.update_VR[rows].to(dtype)], dim=1)

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles; each overwrites the previous one.

        Raises:
            DataError: a label is outside the vocabulary.
        """
        count, vocabulary = len(self.hidden_NH), len(self.weight_VH)
        tile_count = -(-vocabulary * count // self.tokens.tile_logits)
        width = -(-vocabulary // tile_count)
        edges = [*range(0, vocabulary, width), vocabulary]
        starts = torch.searchsorted(self.label_N, self.label_N.new_tensor(edges)).tolist()
        if starts[0] > 0 or starts[-1] < count:
            raise DataError(
                f"a label is outside the model's vocabulary of {vocabulary} tokens: the tokenizer "
                "belongs to another model, or the model's embeddings were not resized."
            )
        product = self.hidden_NH.new_empty(count * width)
        logits_dtype = statistics_dtype(product.dtype)
        logits = (
            product
            if product.dtype == logits_dtype
            else torch.empty_like(product, dtype=logits_dtype)
        )
        for low, high, first, end in zip(edges, edges[1:], starts, starts[1:], strict=False):
            shape = (count, high - low)
            product_NT = product[: count * (high - low)].view(shape)
            weight_TH = self.weight_rows(slice(low, high), product.dtype)
            torch.mm(self.hidden_NH, weight_TH.t(), out=product_NT)
            if self.bias_V is not None:
                product_NT.add_(self.bias_V[low:high].to(product.dtype))
            z_NT = product_NT if logits is product else logits[: product_NT.numel()].view(shape)
            if z_NT is not product_NT:
                z_NT.copy_(product_NT)
            rows = slice(first, end)
            column = self.label_N[rows].unsqueeze(1) - low
            slope_NT = self._scale_and_cap(z_NT)
            yield Tile(slice(low, high), weight_TH, z_NT, slope_NT, rows, column, product_NT)

    def _scale_and_cap(self, z_NT: Tensor) -> Tensor | None:
        """Scale and cap logits in place, and return the slope of the cap."""
        if self.tokens.scale != 1:
            z_NT.mul_(self.tokens.scale)
        softcap = self.tokens.softcap
        if softcap is None:
            return None
        z_NT.div_(softcap).tanh_()
        slope_NT = z_NT.square().neg_().add_(1)
        z_NT.mul_(softcap)
        return slope_NT
