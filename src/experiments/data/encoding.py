"""Render and mask the rows of a source by split, and count the rows that are left out."""

from array import array
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from experiments.config import DataConfig
from experiments.data import augmentation, evaluation_rows, identity, tally
from experiments.data.rendering import Encoded, Renderer
from experiments.data.sources import Row, SourceRows
from experiments.data.tally import Tally

TOO_LONG, MASKED = "too long", "no trained token"
REFUSED = "refused by the chat template"


@dataclass
class EncodedSource:
    """One source, ready for training."""

    splits: dict[str, list[Encoded]]
    facts: dict[str, Any]
    """Entries of the run record: rejected, template_refused, not_trained, too_long, files, ..."""


def encode(source: SourceRows, spec: DataConfig, renderer: Renderer, limit: int) -> EncodedSource:
    """Augment, render and mask the rows of a source.

    A training row that is longer than `limit` tokens, has no trained token or is refused by the
    chat template is dropped and counted. An evaluation row in this situation is kept without its
    tokens (see `evaluation_rows`), unless it has no answer to score against.

    Raises:
        DataError: the chat template omits parts of the rows.
    """
    splits: dict[str, list[Encoded]] = {}
    too_long: Counter[str] = Counter()
    tallies = {}
    masked = 0
    for split, rows in source.splits.items():
        tallies[split] = Tally()
        shown = [shaped(row, spec) for row in rows]
        encoded = _rendered(shown, renderer, tallies[split], limit)
        found = [(e, row, lack) for (e, lack), row in zip(encoded, rows, strict=True)]
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
        "too_long": {split: n for split, n in too_long.items() if n},
        "fully_masked": masked,
        "held_back_twins": source.held_back_twins,
        "unused_columns": dict(source.unused_columns),
        "completions_like_calls": source.completions_like_calls,
        "files": source.files,
        "commit": source.commit,
        **tally.facts(tallies, source.rows, source.examples),
    }
    facts["not_trained"] = dict(source.not_trained + Counter(facts["not_trained"]))
    return EncodedSource(splits, facts)


def shaped(row: Row, spec: DataConfig) -> Row:
    """Return a row up to its last gold turn, with the run's system prompt and tools."""
    row = augmentation.up_to_the_last_trained_turn(row)
    if spec.tools_shown == "gold_plus_k":
        row = augmentation.with_tools_shown(row, spec.distractors or 0, seed=spec.seed)
    mode: Any = spec.system_prompt
    return augmentation.with_system_prompt(row, mode, spec.unified_system_prompt or "")


def _rendered(
    rows: list[Row], renderer: Renderer, left: Tally, limit: int
) -> list[tuple[Encoded, str | None]]:
    """Return each row and why it cannot be used, or None; refused rows have no tokens."""
    encoded = {id(e.row): e for e in renderer.encode(rows, left)}
    empty = ((Encoded(row, array("i"), (), 0), REFUSED) for row in rows)
    return [
        (encoded[id(row)], _lack(encoded[id(row)], limit)) if id(row) in encoded else refused
        for row, refused in zip(rows, empty, strict=True)
    ]


def _lack(encoded: Encoded, limit: int) -> str | None:
    """Return why a row cannot be trained on or evaluated, or None if it can."""
    if len(encoded.ids) > limit:
        return TOO_LONG
    return None if encoded.trained_tokens else MASKED


def _slim(encoded: Encoded) -> Encoded:
    """Return a training row reduced to its tokens and the keys that identify it."""
    kept = {k: encoded.row.get(k, "") for k in ("id", "source", "category")}
    return replace(encoded, row={**kept, "keys": identity.keys(encoded.row)})


def _asked(encoded: Encoded, canonical: Row, lack: str | None) -> Encoded:
    """Return an evaluation row with its keys, without tokens if it does not fit."""
    keys = {**identity.keys(encoded.row), "content": evaluation_rows.digest(canonical)}
    row = {**encoded.row, "keys": keys}
    return replace(encoded, row=row) if lack is None else evaluation_rows.unheld(row, lack)
