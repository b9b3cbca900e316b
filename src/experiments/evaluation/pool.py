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


def append(pool: Pool, read: Pool) -> None:
    """Append the rows of one pool to another; both caches must be plain."""
    import torch
    from torch.nn.functional import pad

    widths = pool.mask_BL.shape[1], read.mask_BL.shape[1]
    more = [max(widths) - width for width in widths]

    def joined(one_BHLD: Any, other_BHLD: Any) -> Any:
        return torch.cat([pad(one_BHLD, (0, 0, more[0], 0)), pad(other_BHLD, (0, 0, more[1], 0))])

    for one, other in zip(pool.cache.layers, read.cache.layers, strict=True):
        one.keys = joined(one.keys, other.keys)
        one.values = joined(one.values, other.values)
    pool.mask_BL = torch.cat([pad(pool.mask_BL, (more[0], 0)), pad(read.mask_BL, (more[1], 0))])
    pool.position_B1 = torch.cat([pool.position_B1, read.position_B1])
    pool.logits_BV = torch.cat([pool.logits_BV, read.logits_BV])
    pool.indices += read.indices


def keep(pool: Pool, places: list[int]) -> Any:
    """Drop all other rows of the pool; return the places as a tensor."""
    import torch

    kept = torch.tensor(places, device=pool.mask_BL.device)
    pool.cache.reorder_cache(kept)  # unlike batch_select_indices, other kinds of state support it
    pool.mask_BL, pool.position_B1 = pool.mask_BL[kept], pool.position_B1[kept]
    pool.indices = [pool.indices[place] for place in places]
    return kept
