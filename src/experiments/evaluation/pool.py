"""The rows that are being decoded together.

A `SlotPool` takes rows in at any time and drops each row that ends; its keys and values are in
`kv_slots`. A `BatchPool` keeps the cache of the model itself, for models whose cache is more than
keys and values of all tokens: its rows begin together, and finished ones are dropped from time to
time, because that copies the cache.

B rows, L tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol

# Dropping finished rows copies the complete cache, so it waits until a quarter have finished.
_KEPT_SHARE = 0.75


@dataclass
class Prefill:
    """The result of reading prompts."""

    indices: list[int]
    """Which prompts they are."""
    cache: Any
    mask_BL: Any
    """1 where a position holds a token, 0 for padding."""
    position_B1: Any
    """Position of the last token."""
    logits_BV: Any


class Pool(Protocol):
    """Rows that are being decoded."""

    indices: list[int]
    """The prompt of each row."""
    logits_BV: Any
    """Logits of each row's next token."""

    def keep(self, rows: list[int], next_B: Any) -> Any:
        """Drop other rows, at once or later, and return the next token of each row that is left."""

    def inputs(self) -> tuple[Any, Any, Any]:
        """Return mask, positions and cache for decoding one token of each row."""

    def decoded(self, logits_BV: Any) -> None:
        """Take the result of the step."""


def is_plain(cache: Any) -> bool:
    """Return whether a cache stores the keys and values of all tokens in each layer.

    Only rows of such a cache can have slots, because a sliding window counts the padding.
    """
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


class BatchPool:
    """Rows that were prefilled together, with the cache of the model."""

    def __init__(self, prefill: Prefill) -> None:
        self.indices, self.logits_BV = prefill.indices, prefill.logits_BV
        self._cache = prefill.cache
        self._mask_BL, self._position_B1 = prefill.mask_BL, prefill.position_B1

    def keep(self, rows: list[int], next_B: Any) -> Any:
        """Drop the other rows if enough of them have ended."""
        import torch

        if len(rows) > _KEPT_SHARE * len(self.indices):
            return next_B
        index_B = torch.tensor(rows, device=next_B.device)
        # Unlike batch_select_indices, other kinds of state support it.
        self._cache.reorder_cache(index_B)
        self._mask_BL, self._position_B1 = self._mask_BL[index_B], self._position_B1[index_B]
        self.indices = [self.indices[row] for row in rows]
        return next_B[index_B]

    def inputs(self) -> tuple[Any, Any, Any]:
        """Return mask, positions and cache, one token longer than before."""
        import torch

        ones_B1 = torch.ones_like(self._position_B1)
        self._mask_BL = torch.cat([self._mask_BL, ones_B1], dim=1)
        self._position_B1 = self._position_B1 + 1
        return self._mask_BL, self._position_B1, self._cache

    def decoded(self, logits_BV: Any) -> None:
        """Keep the logits."""
        self.logits_BV = logits_BV


class SlotPool:
    """Rows that come and go, each with a slot of its own."""

    def __init__(self, slots: Any) -> None:
        """Begin without rows.

        Args:
            slots: the `KvSlots` of the rows.
        """
        self.indices: list[int] = []
        self.logits_BV: Any = None
        self._slots = slots

    def add(self, prefill: Prefill, rows: int, width: int) -> None:
        """Add the rows of a prefill.

        Args:
            prefill: their cache and logits.
            rows: slots to reserve.
            width: positions that the longest row of the pool will need.
        """
        import torch

        self._slots.add(prefill.cache, prefill.mask_BL, rows, width)
        rows_there = self.indices
        self.logits_BV = (
            torch.cat([self.logits_BV, prefill.logits_BV]) if rows_there else prefill.logits_BV
        )
        self.indices = rows_there + prefill.indices

    def keep(self, rows: list[int], next_B: Any) -> Any:
        """Drop the other rows."""
        if len(rows) == len(self.indices):
            return next_B
        order = self._slots.keep(rows)
        self.indices = [self.indices[row] for row in order]
        return next_B[order]

    def inputs(self) -> tuple[Any, Any, Any]:
        """Return mask, positions and cache; a row's mask covers the token that is decoded."""
        import torch

        lengths_B1 = self._slots.lengths_B[:, None]
        place_1L = torch.arange(self._slots.width, device=lengths_B1.device)[None]
        return (place_1L <= lengths_B1).long(), lengths_B1, self._slots.cache

    def decoded(self, logits_BV: Any) -> None:
        """Keep the logits and count the token that was written."""
        self.logits_BV = logits_BV
        self._slots.written()
