"""Data description -> rendered, masked, counted and fingerprinted rows, ready to train on."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from experiments.config import RunConfig
from experiments.data import sources
from experiments.data.rendering import Encoded, Renderer
from experiments.errors import DataError

__all__ = ["Encoded", "Renderer", "TrainData", "build"]


@dataclass
class TrainData:
    """Everything a run reads."""

    splits: dict[str, list[Encoded]]
    fingerprint: str
    """Hash of every token and label of every split, in order."""
    counts: dict[str, Any]
    """What was kept, rejected and dropped, for the record."""
    renderer: Renderer

    @property
    def train(self) -> list[Encoded]:
        """The rows that are trained on."""
        return self.splits["train"]

    @property
    def validation(self) -> list[Encoded]:
        """The rows that choose; empty if the data have none."""
        return self.splits.get("validation", [])


def build(run: RunConfig, tokenizer: Any, *, end_ids: list[int], positions: int) -> TrainData:
    """Read, render and count the rows of a run.

    Args:
        run: the run.
        tokenizer: with the chat template that is used.
        end_ids: tokens that end an assistant turn.
        positions: longest sequence of the model, in tokens.

    Raises:
        DataError: the data are missing or unreadable, or nothing would be trained.
    """
    limit = min(run.trainer.max_length_tokens or positions, positions)
    rows = sources.read(run.data)
    renderer = Renderer(tokenizer, end_ids)
    splits: dict[str, list[Encoded]] = {}
    too_long: Counter[str] = Counter()
    masked = 0
    for split, members in rows.splits.items():
        encoded = renderer.encode(members)
        fitting = [e for e in encoded if len(e.input_ids) <= limit]
        too_long[split] = len(encoded) - len(fitting)
        splits[split] = [e for e in fitting if e.trained_tokens]
        masked += len(fitting) - len(splits[split])
    _check_trainable(splits, too_long, masked, limit)
    counts = {
        "rows": {split: len(members) for split, members in splits.items()},
        "rejected": dict(rows.rejected),
        "too_long": {k: v for k, v in too_long.items() if v},
        "fully_masked": masked,
        "max_length_tokens": limit,
        "files": rows.files,
        "tokens": {k: sum(len(e.input_ids) for e in v) for k, v in splits.items()},
        "trained_tokens": {k: sum(e.trained_tokens for e in v) for k, v in splits.items()},
        "categories": dict(Counter(str(e.row.get("category", "")) for e in splits["train"])),
    }
    return TrainData(splits, _fingerprint(splits), counts, renderer)


def _check_trainable(
    splits: dict[str, list[Encoded]], too_long: Counter[str], masked: int, limit: int
) -> None:
    if splits.get("train"):
        return
    if masked:
        raise DataError(
            f"every token of all {masked} fitting rows is masked: the rows hold no assistant turn "
            "with text or calls; check data.columns and the chat template."
        )
    if too_long.total():
        raise DataError(
            f"no row is left to train on: {too_long.total()} rows are longer than {limit} tokens; "
            "raise trainer.max_length_tokens or use a model with more positions."
        )
    raise DataError("no row is left to train on: lower data.validation_share and data.test_share.")


def _fingerprint(splits: dict[str, list[Encoded]]) -> str:
    digest = hashlib.sha256()
    for split, members in sorted(splits.items()):
        for encoded in members:
            digest.update(json.dumps([split, encoded.input_ids, encoded.labels]).encode())
    return digest.hexdigest()[:16]
