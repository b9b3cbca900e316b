"""Hold back rows of a source for validation and test, and subsample its training rows.

Which rows are held back depends on their contents and on `seed`, not on their positions, on the
tokenizer or on `fraction` and `limit`: every run of a source is tested on the same rows.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config import SourceConfig
from experiments.data import decontamination, evaluation_rows, mixture
from experiments.errors import DataError

Row = dict[str, Any]
HELD_BACK = ("test", "validation")


def split(
    rows: Mapping[str, list[Row]], spec: SourceConfig, shares: Mapping[str, float], train_seed: int
) -> tuple[dict[str, list[Row]], int]:
    """Return the rows of a source by split, and the number of training rows left out.

    A training row is left out if its prompt also occurs in a held-back split or anywhere in a
    published one.

    Args:
        rows: the rows to divide as `all`, and those of published splits under their names.
        spec: the source; its `test_rows` and `validation_rows` take the place of the shares.
        shares: share of `all` that is held back, by split; a test share of 1 means that all rows
            are only evaluated.
        train_seed: seed that draws the training rows.

    Raises:
        DataError: more rows are to be held back than there are.
    """
    own = rows["all"]
    if shares["test"] == 1:  # evaluation only: subsample the evaluated rows
        own = mixture.subset(own, fraction=spec.fraction, limit=spec.limit, seed=spec.seed)
    counts = {name: _count(name, rows, spec, round(len(own) * shares[name])) for name in HELD_BACK}
    if sum(counts.values()) > len(own):
        raise DataError(
            f"{spec.label}: test_rows={counts['test']} and validation_rows={counts['validation']} "
            f"are to be held back of {len(own)} rows: set fewer, or give more rows."
        )
    drawn = ordered(own, spec.seed) if any(counts.values()) else _shuffled(own, spec.seed)
    splits = {name: ordered(rows.get(name, []), spec.seed) for name in HELD_BACK}
    for name in HELD_BACK:
        splits[name] += drawn[: counts[name]]
        drawn = drawn[counts[name] :]
    kept, left_out = decontamination.without_overlap(
        drawn, [*splits["test"], *splits["validation"]]
    )
    splits["train"] = mixture.subset(
        kept, fraction=spec.fraction, limit=spec.limit, seed=train_seed
    )
    for name in HELD_BACK:
        limit = getattr(spec, f"{name}_rows")
        splits[name] = splits[name][:limit]
    return {name: split_rows for name, split_rows in splits.items() if split_rows}, left_out


def ordered(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return rows in a random order determined by their contents and the seed."""

    def rank(row: Row) -> bytes:
        return hashlib.sha256(f"split {seed} {evaluation_rows.digest(row)}".encode()).digest()

    return sorted(rows, key=rank)


def _count(name: str, rows: Mapping[str, list[Row]], spec: SourceConfig, of_share: int) -> int:
    """Return how many rows of `all` are held back for a split."""
    if name in rows:  # it is published
        return 0
    count: int | None = getattr(spec, f"{name}_rows")
    return of_share if count is None else count


def _shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    shuffled = list(rows)
    random.Random(f"split {seed}").shuffle(shuffled)
    return shuffled
