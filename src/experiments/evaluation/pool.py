"""The rows that are being decoded: join their KV caches, drop rows and keep them aligned.

B rows, L tokens, H heads, D size of a head, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any


@dataclass
class Pool:
    """The rows that are being decoded."""

    indices: list[int]
    cache: Any
    mask_BL: Any
    position_B1: Any
    logits_BV: Any


def is_plain(cache: Any) -> bool:
    """Return whether a cache stores the keys and values of all tokens in each layer.

    Only rows of such a cache can be joined or padded in the middle, because a sliding window counts
    the padding.
    """
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def append(pool: Pool, added: Pool) -> None:
    """Append the rows of one pool to another; both caches must be plain."""
    import torch
    from torch.nn.functional import pad

    widths = pool.mask_BL.shape[1], added.mask_BL.shape[1]
    padding = [max(widths) - width for width in widths]

    def join(first_BHLD: Any, second_BHLD: Any) -> Any:
        return torch.cat(
            [pad(first_BHLD, (0, 0, padding[0], 0)), pad(second_BHLD, (0, 0, padding[1], 0))]
        )

    for layer, added_layer in zip(pool.cache.layers, added.cache.layers, strict=True):
        layer.keys = join(layer.keys, added_layer.keys)
        layer.values = join(layer.values, added_layer.values)
    pool.mask_BL = torch.cat(
        [pad(pool.mask_BL, (padding[0], 0)), pad(added.mask_BL, (padding[1], 0))]
    )
    pool.position_B1 = torch.cat([pool.position_B1, added.position_B1])
    pool.logits_BV = torch.cat([pool.logits_BV, added.logits_BV])
    pool.indices += added.indices


def keep(pool: Pool, row_indices: list[int]) -> Any:
    """Drop all other rows of the pool; return the places as a tensor."""
    import torch

    index_B = torch.tensor(row_indices, device=pool.mask_BL.device)
    # Unlike batch_select_indices, other kinds of state support it.
    pool.cache.reorder_cache(index_B)
    pool.mask_BL, pool.position_B1 = pool.mask_BL[index_B], pool.position_B1[index_B]
    pool.indices = [pool.indices[row] for row in row_indices]
    return index_B
