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
    fully_masked = 0
    for split, rows in source.splits.items():
        tallies[split] = Tally()
        shaped_rows = [shaped(row, spec) for row in rows]
        encoded = _rendered(shaped_rows, renderer, tallies[split], limit)
        results = [(e, row, reason) for (e, reason), row in zip(encoded, rows, strict=True)]
        too_long[split] = sum(reason == TOO_LONG for _, _, reason in results)
        fully_masked += sum(reason == MASKED for _, _, reason in results)
        if split == "train":
            splits[split] = [_training_row(e) for e, _, reason in results if reason is None]
        else:
            splits[split] = [
                _evaluation_row(e, row, reason)
                for e, row, reason in results
                if reason is None or evaluation_rows.has_answer(row)
            ]
    facts = {
        "rejected": dict(source.rejected),
        "too_long": {split: n for split, n in too_long.items() if n},
        "fully_masked": fully_masked,
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
    rows: list[Row], renderer: Renderer, refusals: Tally, limit: int
) -> list[tuple[Encoded, str | None]]:
    """Return each row and why it cannot be used, or None; refused rows have no tokens."""
    encoded = {id(e.row): e for e in renderer.encode(rows, refusals)}
    refused_rows = ((Encoded(row, array("i"), (), 0), REFUSED) for row in rows)
    return [
        (encoded[id(row)], _unusable_reason(encoded[id(row)], limit))
        if id(row) in encoded
        else refused_row
        for row, refused_row in zip(rows, refused_rows, strict=True)
    ]


def _unusable_reason(encoded: Encoded, limit: int) -> str | None:
    """Return why a row cannot be trained on or evaluated, or None if it can."""
    if len(encoded.ids) > limit:
        return TOO_LONG
    return None if encoded.trained_tokens else MASKED


def _training_row(encoded: Encoded) -> Encoded:
    """Return a training row reduced to its tokens and the keys that identify it."""
    identifying = {k: encoded.row.get(k, "") for k in ("id", "source", "category")}
    return replace(encoded, row={**identifying, "keys": identity.keys(encoded.row)})


def _evaluation_row(encoded: Encoded, canonical: Row, reason: str | None) -> Encoded:
    """Return an evaluation row with its keys, without tokens if it does not fit."""
    keys = {**identity.keys(encoded.row), "content": evaluation_rows.digest(canonical)}
    row = {**encoded.row, "keys": keys}
    return replace(encoded, row=row) if reason is None else evaluation_rows.unheld(row, reason)
