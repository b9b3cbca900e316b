"""Data description -> rendered, masked, mixed and fingerprinted rows, ready to train on."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.config import DataConfig, EvalConfig, RunConfig
from experiments.config.benchmarks import split_names
from experiments.data import asking, cache, encoding, guard, identity, mixture, sources
from experiments.data.encoding import EncodedSource
from experiments.data.rendering import Encoded, Renderer
from experiments.data.sources import Located
from experiments.errors import DataError

__all__ = ["Encoded", "Renderer", "TrainData", "build"]


@dataclass
class TrainData:
    """Everything a run reads."""

    splits: dict[str, list[Encoded]]
    fingerprint: str
    """Hash of every token and label of every split, in order."""
    counts: dict[str, Any]
    """What was kept, rejected and dropped, by source and in all, for the record."""
    renderer: Renderer

    @property
    def train(self) -> list[Encoded]:
        """The rows that are trained on; of the row itself they hold only id, source, category."""
        return self.splits["train"]

    @property
    def validation(self) -> list[Encoded]:
        """The rows that choose; empty if the data have none."""
        return self.splits.get("validation", [])

    def evaluated_splits(self, spec: EvalConfig) -> Iterator[tuple[str, list[Encoded]]]:
        """Yield each split that is answered and has rows: the data's own, then the benchmarks'.

        A row of a benchmark may have no gold turn: then `trained` is empty, and it has no loss.
        """
        asked = [split for name in spec.benchmarks for split in split_names(name).values()]
        for split in (*spec.splits, *asked):
            if rows := self.splits.get(split):
                yield split, rows

    def answer_budget(self, spec: EvalConfig, split: str) -> int:
        """Return the longest answer allowed to a split, in tokens: one for all the data's own."""
        splits = spec.splits if split in spec.splits else [split]
        rows = (encoded for one in splits for encoded in self.splits.get(one, []))
        return asking.answer_budget(rows, spec.max_new_tokens)


def build(
    run: RunConfig,
    tokenizer: Any,
    *,
    end_ids: list[int],
    positions: int,
    may_be_empty: bool = False,
) -> TrainData:
    """Read, render, mix and count the rows of a run.

    Args:
        run: the run.
        tokenizer: with the chat template that is used.
        end_ids: tokens that end an assistant turn.
        positions: longest sequence of the model, in tokens.
        may_be_empty: whether it is all right that nothing would be trained.

    Raises:
        DataError: the data are missing or unreadable, overlap with an evaluation set, or nothing
            would be trained.
    """
    spec = run.data
    limit = min(run.trainer.max_length_tokens or positions, positions)
    thinking: Any = spec.thinking
    form: Any = spec.tools_form
    renderer = Renderer(tokenizer, end_ids, thinking=thinking, tools_form=form)
    maker = _Maker(spec, renderer, limit, _vocabulary(tokenizer, end_ids))
    shares = {"validation": spec.validation_share or 0.0, "test": spec.test_share or 0.0}
    found = {name: maker.make(one, shares) for name, one in sources.locate(spec).items()}
    tests = {
        name: maker.make(one, {"validation": 0.0, "test": 1.0})
        for name, one in sources.locate_tests(spec).items()
    }
    counts: dict[str, Any] = _facts(found | tests) | {"max_length_tokens": limit}
    splits = _mixed(found, spec, counts) if spec.source == "mixture" else _only(found).splits
    for name, source in tests.items():
        evaluated = source.splits.get("test", [])
        guard.refuse_overlap(
            [e.row for e in splits.get("train", [])],
            [e.row for e in evaluated],
            evaluation=f"data.test_sources.{name}",
        )
        splits["test"] = splits.get("test", []) + evaluated
    splits.setdefault("train", [])
    if run.eval.benchmarks:
        documents = Renderer(tokenizer, end_ids, thinking=thinking, tools_form="as_given")
        asked = asking.ask(run, renderer, documents, positions)
        asking.refuse_training_on(asked, splits["train"])
        splits |= asked.splits
        counts["benchmarks"] = asked.facts
    if not may_be_empty:
        _check_trainable(splits, counts)
    counts |= {
        "rows": {split: len(members) for split, members in splits.items()},
        "tokens": {k: sum(len(e.ids) for e in v) for k, v in splits.items()},
        "trained_tokens": {k: sum(e.trained_tokens for e in v) for k, v in splits.items()},
        "categories": dict(Counter(str(e.row.get("category", "")) for e in splits["train"])),
    }
    return TrainData(splits, _fingerprint(splits), counts, renderer)


@dataclass(frozen=True)
class _Maker:
    """Makes the encoded rows of a source, or finds them in the cache."""

    spec: DataConfig
    renderer: Renderer
    limit: int
    vocabulary: str

    def make(self, located: Located, shares: dict[str, float]) -> EncodedSource:
        def build() -> EncodedSource:
            rows = sources.read(located, **shares)
            return encoding.encode(rows, self.spec, self.renderer, self.limit)

        if self.spec.cache is None or located.place is None:  # made anew as fast as it is read
            return build()
        source = asdict(located.spec)
        for key in ("label", "path", "weight"):
            source.pop(key)
        shown = (
            *("thinking", "system_prompt", "unified_system_prompt", "tools_form"),
            *("tools_shown", "distractors", "seed"),
        )
        parts = {
            "files": located.files,
            "source": {k: v for k, v in source.items() if k not in ("sources", "test_sources")},
            "name": located.name,
            "shares": shares,
            "shown": {key: getattr(self.spec, key) for key in shown},
            "limit": self.limit,
            "vocabulary": self.vocabulary,
        }
        return cache.cached(Path(self.spec.cache), parts, build)[0]


def _vocabulary(tokenizer: Any, end_ids: list[int]) -> str:
    """Hash what decides about tokens: the tokenizer, its template, the end tokens."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([tokenizer.chat_template, end_ids]).encode())
    return digest.hexdigest()


def _only(found: dict[str, EncodedSource]) -> EncodedSource:
    [source] = found.values()
    return source


def _facts(found: dict[str, EncodedSource]) -> dict[str, Any]:
    """Sum up what was left out, and keep it by source."""
    rejected: Counter[str] = Counter()
    too_long: Counter[str] = Counter()
    for source in found.values():
        rejected.update(source.facts["rejected"])
        too_long.update(source.facts["too_long"])
    files = [source.facts["files"] for source in found.values()]
    return {
        "rejected": dict(rejected),
        "too_long": dict(too_long),
        "fully_masked": sum(source.facts["fully_masked"] for source in found.values()),
        "files": {name: digest for one in files for name, digest in one.items()},
        "sources": {name: source.facts for name, source in found.items()},
    }


def _mixed(
    found: dict[str, EncodedSource], spec: DataConfig, counts: dict[str, Any]
) -> dict[str, list[Encoded]]:
    """Leave near-duplicates to the earlier source and draw the training rows by weight."""
    by_row = {
        id(e.row): (split, e)
        for source in found.values()
        for split, rows in source.splits.items()
        for e in rows
    }
    members = {
        name: [e.row for rows in source.splits.values() for e in rows]
        for name, source in found.items()
    }
    kept, duplicates = mixture.without_duplicates(members)
    splits: dict[str, list[Encoded]] = {}
    train: dict[str, list[Any]] = {name: [] for name in found}
    for name, rows in kept.items():
        for split, encoded in (by_row[id(row)] for row in rows):
            if split == "train":
                train[name].append(encoded.row)
            else:
                splits.setdefault(split, []).append(encoded)
    unit: Any = spec.weight_by
    drawn = mixture.draw(
        train,
        {name: spec.sources[name].weight or 0.0 for name in found},
        seed=spec.seed,
        total=spec.total,
        weight_by=unit,
        lengths=lambda rows: [_length(by_row[id(row)][1], spec.weight_by) for row in rows],
    )
    splits["train"] = [by_row[id(row)][1] for row in drawn.rows]
    counts["mixture"] = drawn.record() | {"duplicates": duplicates}
    return splits


def _length(encoded: Encoded, unit: str) -> int:
    if unit == "tokens":
        return len(encoded.ids)
    return encoded.trained_tokens if unit == "trained_tokens" else 1


def _check_trainable(splits: dict[str, list[Encoded]], counts: dict[str, Any]) -> None:
    if splits["train"]:
        return
    masked, too_long = counts["fully_masked"], sum(counts["too_long"].values())
    if masked:
        raise DataError(
            f"every token of all {masked} fitting rows is masked: the rows hold no assistant turn "
            "with text or calls; check data.columns and the chat template."
        )
    if too_long:
        limit = counts["max_length_tokens"]
        raise DataError(
            f"no row is left to train on: {too_long} rows are longer than {limit} tokens; "
            "raise trainer.max_length_tokens or use a model with more positions."
        )
    if counts["rejected"]:
        raise DataError(
            f"no row is left to train on: all were rejected ({counts['rejected']}); look at them "
            "with python -m experiments data."
        )
    twins = sum(facts["held_back_twins"] for facts in counts["sources"].values())
    if twins:
        raise DataError(
            f"no row is left to train on: {twins} rows have the prompt of a held-back row; remove "
            "repeated rows, or set data.validation_share=0 data.test_share=0."
        )
    raise DataError("no row is left to train on: lower data.validation_share and data.test_share.")


def _fingerprint(splits: dict[str, list[Encoded]]) -> str:
    digest = hashlib.sha256()
    for split, members in sorted(splits.items()):
        for encoded in members:
            digest.update(split.encode() + b"\0" + encoded.ids.tobytes())
            digest.update(json.dumps(encoded.trained).encode())
            if "benchmark" in encoded.row:  # what answers are held against is not all in tokens
                digest.update(identity.content(encoded.row).encode())
    return digest.hexdigest()[:16]
