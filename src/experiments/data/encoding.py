"""The rows of a source -> its rendered and masked rows by split, with what was left out counted."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from experiments.config import DataConfig
from experiments.data import identity, shaping
from experiments.data.rendering import Encoded, Renderer
from experiments.data.sources import Row, SourceRows


@dataclass
class EncodedSource:
    """One source, ready to train on."""

    splits: dict[str, list[Encoded]]
    facts: dict[str, Any]
    """What the record says of it: rejected, too_long, fully_masked, files, commit."""


def encode(source: SourceRows, spec: DataConfig, renderer: Renderer, limit: int) -> EncodedSource:
    """Shape, render and mask the rows of a source; rows above `limit` tokens are dropped.

    Raises:
        DataError: the chat template fails on a row.
    """
    splits: dict[str, list[Encoded]] = {}
    too_long: Counter[str] = Counter()
    masked = 0
    for split, rows in source.splits.items():
        encoded = renderer.encode([shaped(row, spec) for row in rows])
        fitting = [e for e in encoded if len(e.ids) <= limit]
        too_long[split] = len(encoded) - len(fitting)
        kept = [e for e in fitting if e.trained_tokens]
        masked += len(fitting) - len(kept)
        splits[split] = [replace(e, row=_slim(e.row, split)) for e in kept]
    facts = {
        "rejected": dict(source.rejected),
        "examples": source.examples,
        "too_long": {split: n for split, n in too_long.items() if n},
        "fully_masked": masked,
        "held_back_twins": source.held_back_twins,
        "files": source.files,
        "commit": source.commit,
    }
    return EncodedSource(splits, facts)


def shaped(row: Row, spec: DataConfig) -> Row:
    """Return a row with the system prompt and the tools that the run shows."""
    if spec.tools_shown == "gold_plus_k":
        row = shaping.with_tools_shown(row, spec.distractors or 0, seed=spec.seed)
    mode: Any = spec.system_prompt
    return shaping.with_system_prompt(row, mode, spec.unified_system_prompt or "")


def _slim(row: Row, split: str) -> Row:
    """Add the keys it is recognised by; a training row's text is in its tokens and nowhere else."""
    kept = row if split != "train" else {k: row.get(k, "") for k in ("id", "source", "category")}
    return {**kept, "keys": identity.keys(row)}
