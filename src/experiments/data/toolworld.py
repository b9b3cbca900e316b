"""Generate tool-calling conversations with a gold last turn, by split, count and seed.

The toolworld is the data set of the offline demo: small enough for a CPU, and built so that nothing
leaks between its splits. A conversation belongs to exactly one split, chosen by a hash of its
prompt, so no seed can put a test prompt into train. `unseen_values` draws its argument values and
`unseen_tools` its tools from tables that no other split uses.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping

from experiments.config.categories import CATEGORIES
from experiments.data.toolworld_conversations import ToolworldRow, conversation
from experiments.data.toolworld_vocabulary import (
    UNSEEN_TOOLS_WORLD,
    UNSEEN_VALUES_WORLD,
    WORLD,
)

SPLITS = ("train", "validation", "test", "unseen_values", "unseen_tools")

# Upper hash bucket (0-99) of each split; the remaining buckets belong to `train`.
_BUCKET_END = {"validation": 10, "test": 20, "unseen_values": 30, "unseen_tools": 40, "train": 100}
_WORLDS = {"unseen_values": UNSEEN_VALUES_WORLD, "unseen_tools": UNSEEN_TOOLS_WORLD}
_MAX_TRIES = 4000


def rows(
    split: str, count: int, *, seed: int = 0, weights: Mapping[str, float] | None = None
) -> list[ToolworldRow]:
    """Return `count` conversations of a split, shuffled so that any prefix mixes the categories.

    A larger count extends each category: its first rows stay the same.

    Args:
        split: One of `SPLITS`.
        count: Number of rows over all categories, distributed by largest remainder.
        seed: Another seed gives other conversations of the same split.
        weights: Weight by category; default 1 each, a missing category counts as 0.

    Raises:
        ValueError: Unknown split or category, negative count or weight, or no positive weight.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    shares = _shares(count, dict.fromkeys(CATEGORIES, 1.0) if weights is None else weights)
    result = [
        row
        for category, share in shares.items()
        for row in _rows_of_category(split, category, share, seed=seed)
    ]
    random.Random(f"{split}/{seed}/order").shuffle(result)
    return result


def _shares(count: int, weights: Mapping[str, float]) -> dict[str, int]:
    unknown = sorted(set(weights) - set(CATEGORIES))
    if unknown:
        raise ValueError(f"unknown category {unknown[0]!r}; allowed: {', '.join(CATEGORIES)}")
    total = sum(weights.values())
    if count < 0 or total <= 0 or min(weights.values()) < 0:
        raise ValueError(f"need count >= 0 and weights >= 0 with a sum > 0: {count}, {weights}")
    exact_shares = {name: count * weights.get(name, 0.0) / total for name in CATEGORIES}
    shares = {name: int(value) for name, value in exact_shares.items()}
    by_remainder = sorted(CATEGORIES, key=lambda name: shares[name] - exact_shares[name])
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares


def _rows_of_category(
    split: str, category: str, count: int, *, seed: int
) -> Iterator[ToolworldRow]:
    rng = random.Random(f"{split}/{seed}/{category}")
    world = _WORLDS.get(split, WORLD)
    seen: set[bytes] = set()
    for index in range(count):
        for attempt in range(_MAX_TRIES):
            row = conversation(category, world, rng)
            digest = _digest(row)
            # A small category may repeat.
            acceptable = digest not in seen or attempt > _MAX_TRIES // 2
            if acceptable and _split_of(digest) == split:
                break
        else:
            raise ValueError(f"the toolworld has no {category!r} conversation for {split!r}")
        seen.add(digest)
        row["id"] = f"toolworld-{split}-{seed}-{category}-{index}"
        yield row


def _digest(row: ToolworldRow) -> bytes:
    prompt = json.dumps([row["messages"][:-1], row["tools"]], sort_keys=True)
    return hashlib.sha256(prompt.encode()).digest()


def _split_of(digest: bytes) -> str:
    bucket = int.from_bytes(digest[:8], "big") % 100
    return next(split for split, end in _BUCKET_END.items() if bucket < end)
