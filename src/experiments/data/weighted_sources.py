"""Combine the encoded sources of a mixture: the held-back rows of all, training rows by weight."""

from collections import Counter
from typing import Any

from experiments.config import DataConfig
from experiments.data import mixture
from experiments.data.encoding import EncodedSource
from experiments.data.rendering import Encoded


def combine(
    sources_by_name: dict[str, EncodedSource], spec: DataConfig
) -> tuple[dict[str, list[Encoded]], dict[str, Any]]:
    """Collect the held-back rows of all sources and draw the training rows by weight.

    Of near-duplicates across sources, the row of the earlier source is kept, separately for
    held-back and for training rows. A training row with a near-duplicate among the held-back rows
    of another source is removed.
    """
    encoded_by_row_id = {
        id(e.row): (split, e)
        for source in sources_by_name.values()
        for split, rows in source.splits.items()
        for e in rows
    }
    held_back = {
        name: [e.row for split, rows in source.splits.items() if split != "train" for e in rows]
        for name, source in sources_by_name.items()
    }
    held_back, duplicates = mixture.without_duplicates(held_back)
    splits: dict[str, list[Encoded]] = {}
    for split, encoded in (
        encoded_by_row_id[id(row)] for rows in held_back.values() for row in rows
    ):
        splits.setdefault(split, []).append(encoded)
    train = {
        name: [e.row for e in source.splits.get("train", [])]
        for name, source in sources_by_name.items()
    }
    train, leak_counts = mixture.without_held_back(train, held_back)
    unit: Any = spec.weight_by
    mixed = mixture.draw(
        train,
        {name: spec.sources[name].weight or 0.0 for name in sources_by_name},
        seed=spec.seed if spec.train_seed is None else spec.train_seed,
        total=spec.total,
        weight_by=unit,
        lengths=lambda rows: [
            _length(encoded_by_row_id[id(row)][1], spec.weight_by) for row in rows
        ],
    )
    splits["train"] = [encoded_by_row_id[id(row)][1] for row in mixed.rows]
    duplicate_counts = Counter(mixed.duplicates) + Counter(duplicates) + Counter(leak_counts)
    return splits, mixed.record() | {"duplicates": dict(duplicate_counts)}


def _length(encoded: Encoded, unit: str) -> int:
    if unit == "tokens":
        return len(encoded.ids)
    return encoded.trained_tokens if unit == "trained_tokens" else 1
