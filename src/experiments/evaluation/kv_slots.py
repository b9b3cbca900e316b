"""Keys and values of the rows that are being decoded, in buffers that are allocated ahead.

Each row has a slot, which holds its tokens from position 0 on, without padding. A decoding step
writes one position of each slot in place, and attention reads a view of the buffers, so nothing is
concatenated. When a row ends, the last row moves into its slot; no other row is copied.

B rows in use, S slots, H key-value heads, W positions, D size of a head, L tokens of a prefill.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

# Growing copies all rows in use, so it reserves this much more than is needed now.
_GROWTH = 1.25


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """The slots of one layer, as a cache layer of transformers."""

    is_sliding = False

    def __init__(self, slots: "KvSlots") -> None:
        super().__init__()
        self._slots = slots

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: `KvSlots` allocates the buffers."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the token of each row (shape (B, H, 1, D)); return the tokens (B, H, W, D)."""
        assert self.keys is not None and self.values is not None, "rows are added first"
        slots = self._slots
        rows = len(slots.lengths)
        self.keys[slots.rows_B, :, slots.lengths_B] = key_states[:, :, 0]
        self.values[slots.rows_B, :, slots.lengths_B] = value_states[:, :, 0]
        return self.keys[:rows, :, : slots.width], self.values[:rows, :, : slots.width]

    def get_seq_length(self) -> int:
        """Return the number of positions before the token that is decoded."""
        return self._slots.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the width of the mask and its first position."""
        return self._slots.width, 0

    def get_max_length(self) -> int:
        """Return -1: the slots grow."""
        return -1


class KvSlots:
    """The slots of all layers."""

    def __init__(self, most_bytes: float) -> None:
        """Allocate nothing yet.

        Args:
            most_bytes: reserve ahead only up to this size; what is needed now is always allocated.
        """
        self.cache: Any = None
        """The cache to pass to the model for decoding; None before rows were added."""
        self.lengths: list[int] = []
        """Tokens in each slot in use."""
        self._most_bytes = most_bytes
        self._slots = self._width = 0

    @property
    def width(self) -> int:
        """Positions that the next decoding step needs."""
        return max(self.lengths, default=0) + 1

    def add(self, prefilled: Any, mask_BL: torch.Tensor, slots: int, width: int) -> None:
        """Append the rows of a prefill.

        Args:
            prefilled: the cache of the prefill, whose layers hold keys and values of shape
                (B, H, L, D).
            mask_BL: 1 where a position holds a token of the row; the others are padding.
            slots: number of slots to reserve at least.
            width: number of positions that the longest row will need.
        """
        if self.cache is None:
            self.cache = Cache(layers=[SlotLayer(self) for _ in prefilled.layers])
        self._reserve(prefilled, slots, width)
        first, lengths = len(self.lengths), mask_BL.sum(1)
        # The places of each row's tokens, in order; what follows them is overwritten later.
        places_BL = mask_BL.argsort(dim=1, descending=True, stable=True)
        longest = int(lengths.max())
        places_B1L1 = places_BL[:, None, :longest, None]
        for layer, added in zip(self.cache.layers, prefilled.layers, strict=True):
            for buffer, new in ((layer.keys, added.keys), (layer.values, added.values)):
                index = places_B1L1.expand(-1, new.shape[1], -1, new.shape[3])
                buffer[first : first + len(new), :, :longest] = new.gather(2, index)
        self.lengths += lengths.tolist()
        self._index()

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Drop all other rows, and return the kept ones in their new order."""
        count = len(rows)
        kept = set(rows)
        order = list(range(count))
        free = [row for row in range(count) if row not in kept]
        moved = [row for row in rows if row >= count]
        for to, source in zip(free, moved, strict=True):
            order[to] = source
            length = self.lengths[source]
            for layer in self.cache.layers:
                for buffer in (layer.keys, layer.values):
                    buffer[to, :, :length] = buffer[source, :, :length]
        self.lengths = [self.lengths[row] for row in order]
        self._index()
        return order

    def written(self) -> None:
        """Count the token of each row that a decoding step has written."""
        self.lengths = [length + 1 for length in self.lengths]
        self.lengths_B += 1

    def _index(self) -> None:
        device = self.cache.layers[0].keys.device
        self.lengths_B = torch.tensor(self.lengths, device=device)
        self.rows_B = torch.arange(len(self.lengths), device=device)

    def _reserve(self, like: Any, slots: int, width: int) -> None:
        """Make room for the slots and positions, and for more if memory allows it."""
        if slots <= self._slots and width <= self._width:
            return
        wanted = max(slots, self._slots), max(width, self._width)
        ahead = wanted[0], max(self._width, int(width * _GROWTH))
        token_bytes = sum(_token_bytes(layer.keys, layer.values) for layer in like.layers)
        fits = ahead[0] * ahead[1] * token_bytes <= self._most_bytes
        self._slots, self._width = ahead if fits else wanted
        for layer, added in zip(self.cache.layers, like.layers, strict=True):
            layer.keys = self._grown(layer.keys, added.keys)
            layer.values = self._grown(layer.values, added.values)

    def _grown(self, buffer: Any, like: torch.Tensor) -> torch.Tensor:
        _, heads, _, size = like.shape
        # Zeros, because a masked position still counts if it holds NaN: 0 * NaN is NaN.
        grown = like.new_zeros(self._slots, heads, self._width, size)
        if rows := len(self.lengths):
            used = self.width - 1
            grown[:rows, :, :used] = buffer[:rows, :, :used]
        return grown


def _token_bytes(*per_token_BHLD: torch.Tensor) -> int:
    return sum(part.shape[1] * part.shape[3] * part.itemsize for part in per_token_BHLD)
