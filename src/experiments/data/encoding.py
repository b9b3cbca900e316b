"""The rows of a source -> its rendered and masked rows by split, with what was left out counted."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from experiments.config import DataConfig
from experiments.data import evaluation_rows, identity, shaping
from experiments.data.rendering import Encoded, Renderer
from experiments.data.sources import Row, SourceRows

TOO_LONG, MASKED = "too long", "no trained token"


@dataclass
class EncodedSource:
    """One source, ready to train on."""

    splits: dict[str, list[Encoded]]
    facts: dict[str, Any]
    """What the record says of it: rejected, too_long, fully_masked, files, commit."""


def encode(source: SourceRows, spec: DataConfig, renderer: Renderer, limit: int) -> EncodedSource:
    """Shape, render and mask the rows of a source.

    A training row above `limit` tokens or without a trained token is dropped; an evaluation row is
    kept without its tokens (see `evaluation_rows`), unless it has no answer to be held against.

    Raises:
        DataError: the chat template fails on a row.
    """
    splits: dict[str, list[Encoded]] = {}
    too_long: Counter[str] = Counter()
    masked = 0
    for split, rows in source.splits.items():
        encoded = renderer.encode([shaped(row, spec) for row in rows])
        found = [(e, row, _lack(e, limit)) for e, row in zip(encoded, rows, strict=True)]
        too_long[split] = sum(lack == TOO_LONG for _, _, lack in found)
        masked += sum(lack == MASKED for _, _, lack in found)
        if split == "train":
            splits[split] = [_slim(e) for e, _, lack in found if lack is None]
        else:
            splits[split] = [
                _asked(e, row, lack)
                for e, row, lack in found
                if lack is None or evaluation_rows.has_answer(row)
            ]
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


def _lack(encoded: Encoded, limit: int) -> str | None:
    """Say why a row is nothing to train on or to ask; None where it is whole."""
    if len(encoded.ids) > limit:
        return TOO_LONG
    return None if encoded.trained_tokens else MASKED


def _slim(encoded: Encoded) -> Encoded:
    """Return a training row with the keys it is recognised by; its text is in its tokens only."""
    kept = {k: encoded.row.get(k, "") for k in ("id", "source", "category")}
    return replace(encoded, row={**kept, "keys": identity.keys(encoded.row)})


def _asked(encoded: Encoded, canonical: Row, lack: str | None) -> Encoded:
    """Return an evaluation row with its keys, without tokens where the model cannot hold it."""
    keys = {**identity.keys(encoded.row), "content": evaluation_rows.digest(canonical)}
    row = {**encoded.row, "keys": keys}
    return replace(encoded, row=row) if lack is None else evaluation_rows.unheld(row, lack)
