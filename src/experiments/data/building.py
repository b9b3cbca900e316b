"""Build the data of a run: read, render, mask, mix and fingerprint its rows."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from experiments.config import DataConfig, EvalConfig, RunConfig
from experiments.config.benchmarks import split_names
from experiments.data import (
    benchmark_prompts,
    cache,
    decontamination,
    encoding,
    evaluation_rows,
    identity,
    mixture,
    remarks,
    round_trip,
    sources,
    tally,
)
from experiments.data import thinking as thinking_modes
from experiments.data.encoding import EncodedSource
from experiments.data.evaluation_rows import Evaluated
from experiments.data.rendering import Encoded, Renderer
from experiments.data.sources import Located
from experiments.data.thinking import Mode
from experiments.errors import DataError
from experiments.toolcalls.parser import HERMES_TAGS, CallForm

# Counters that every source has and that are summed over a run.
_COUNTED = ("rejected", "too_long", "template_refused", "not_trained")


@dataclass
class TrainData:
    """All rows that a run trains on or evaluates."""

    splits: dict[str, list[Encoded]]
    """Rows by split that fit into the model's context."""
    fingerprint: str
    """Hash of every token and label of every split, in order."""
    counts: dict[str, Any]
    """Rows kept, rejected and dropped, by source and in total, for the run record."""
    renderer: Renderer
    evaluated: Evaluated = field(default_factory=Evaluated)
    """Rows of all splits except `train`, including those that do not fit into the model's
    context."""

    @property
    def call_form(self) -> CallForm:
        """Format in which the chat template writes calls; Hermes tags if it writes none."""
        return self.renderer.call_form or HERMES_TAGS

    @property
    def train(self) -> list[Encoded]:
        """Training rows; their `row` contains only id, source, category and keys."""
        return self.splits["train"]

    @property
    def validation(self) -> list[Encoded]:
        """Rows used for model selection; empty if the data have none."""
        return self.splits.get("validation", [])

    def evaluated_splits(self, spec: EvalConfig) -> Iterator[tuple[str, list[Encoded]]]:
        """Yield each generated split with those of its first rows that fit into the context.

        The data's splits come first, then those of the benchmarks, each limited to `eval.limit`
        rows. A benchmark row may have no gold turn: `trained` is then empty and the row has no
        loss. Splits without rows are skipped.
        """
        for split in self._asked_splits(spec):
            yield split, self.evaluated.asked(split, spec.limit)

    def evaluation_rows(self, spec: EvalConfig) -> dict[str, dict[str, Any]]:
        """Return the number and hash of the rows used for selection or generation, by split.

        The hash covers the canonical rows before rendering: records with equal hashes were scored
        on the same rows, whatever the model, its chat template and its maximum length.
        """
        known = self.evaluated
        found = {split: known.rows(split, spec.limit) for split in self._asked_splits(spec)}
        chooses = (
            {"validation": known.rows("validation", spec.loss_rows)} if self.validation else {}
        )
        return chooses | found

    def _asked_splits(self, spec: EvalConfig) -> list[str]:
        asked = [split for name in spec.benchmarks for split in split_names(name).values()]
        return [s for s in (*spec.splits, *asked) if self.evaluated.digests.get(s)]

    def answer_budget(self, spec: EvalConfig, split: str) -> int:
        """Return the maximum answer length of a split in tokens; the data's splits share one."""
        splits = spec.splits if split in spec.splits else [split]
        rows = (encoded for one in splits for encoded in self.splits.get(one, []))
        return benchmark_prompts.answer_budget(rows, spec, thinks=self.mode.asked == "on")

    @property
    def mode(self) -> Mode:
        """How thinking is set when the model generates answers."""
        return self.renderer.mode


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
        tokenizer: the tokenizer with the chat template in use.
        end_ids: token ids that end an assistant turn.
        positions: the model's maximum sequence length in tokens.
        may_be_empty: for inspection only; neither an empty training split nor too many refused rows
            are an error.

    Raises:
        DataError: the data are missing or unreadable or overlap with an evaluation set, nothing
            would be trained, or the chat template omits parts of the rows or refuses too many.
        ConfigError: `eval.thinking` requires something that the chat template does not support.
    """
    spec = run.data
    limit = min(run.trainer.max_length or positions, positions)
    thinking: Any = spec.thinking
    form: Any = spec.tools_form
    asked_for: Any = run.eval.thinking
    mode = thinking_modes.mode(tokenizer, asked_for, keeps=thinking == "keep")
    renderer = Renderer(tokenizer, end_ids, thinking=thinking, tools_form=form, mode=mode)
    maker = _Maker(spec, renderer, limit, _vocabulary(tokenizer, end_ids), may_be_empty)
    shares = {"validation": spec.validation_share or 0.0, "test": spec.test_share or 0.0}
    found = {name: maker.make(one, shares) for name, one in sources.locate(spec).items()}
    tests = {
        name: maker.make(one, {"validation": 0.0, "test": 1.0})
        for name, one in sources.locate_tests(spec).items()
    }
    counts: dict[str, Any] = _facts(found | tests) | {"max_length": limit}
    splits = _mixed(found, spec, counts) if spec.source == "mixture" else dict(_only(found).splits)
    for name, source in tests.items():
        rows = source.splits.get("test", [])
        decontamination.refuse_overlap(
            [e.row for e in splits.get("train", [])],
            [e.row for e in rows],
            evaluation=f"data.test_sources.{name}",
        )
        splits["test"] = splits.get("test", []) + rows
    splits.setdefault("train", [])
    for split in (name for name in run.eval.splits if name in splits):
        answered = splits[split]
        splits[split] = renderer.with_own_prompts(answered, [e.row for e in answered])
    if run.eval.benchmarks:
        documents = Renderer(
            tokenizer, end_ids, thinking=thinking, tools_form="as_given", mode=mode
        )
        asked = benchmark_prompts.ask(run, renderer, documents, positions)
        benchmark_prompts.refuse_training_on(asked, splits["train"])
        proof = round_trip.prove(
            {s: [e.row for e in rows if e.ids] for s, rows in asked.splits.items()},
            renderer,
            spec.max_reject_share,
        )
        splits |= asked.splits
        counts["benchmarks"] = asked.facts
        counts["benchmark_calls_read_back"] = proof.facts()
    evaluated = evaluation_rows.separate({k: v for k, v in splits.items() if k != "train"})
    splits |= evaluated.splits
    if "validation" in splits:
        splits["validation"] = evaluated.asked("validation", run.eval.loss_rows)
    if not may_be_empty:
        _check_trainable(splits, counts)
    counts |= {
        "unheld": evaluated.reasons(),
        "warnings": remarks.on_rows(spec, counts, evaluated),
        "rows": {split: len(members) for split, members in splits.items()},
        "tokens": {k: sum(len(e.ids) for e in v) for k, v in splits.items()},
        "trained_tokens": {k: sum(e.trained_tokens for e in v) for k, v in splits.items()},
        "categories": dict(Counter(str(e.row.get("category", "")) for e in splits["train"])),
    }
    form = renderer.call_form
    counts["call_form"] = form and form.facts()
    return TrainData(splits, _fingerprint(splits, evaluated), counts, renderer, evaluated)


@dataclass(frozen=True)
class _Maker:
    """Encodes the rows of a source, or loads them from the cache."""

    spec: DataConfig
    renderer: Renderer
    limit: int
    vocabulary: str
    inspecting: bool
    """Whether the rows are only inspected, so that a run's limits are not enforced."""

    def make(self, located: Located, shares: dict[str, float]) -> EncodedSource:
        def build() -> EncodedSource:
            rows = sources.read(located, **shares)
            shaped, share = partial(encoding.shaped, spec=self.spec), located.spec.max_reject_share
            proof = round_trip.prove(rows.splits, self.renderer, share, shaped)
            encoded = encoding.encode(rows, self.spec, self.renderer, self.limit)
            encoded.facts["calls_read_back"] = proof.facts()
            return encoded

        # Generated rows are not cached: generating them is as fast as reading them.
        kept = self.spec.cache is not None and located.place is not None
        source = self._cached(located, shares, build) if kept else build()
        where, key = str(located.place or located.name), f"{located.key}.max_reject_share"
        share = located.spec.max_reject_share
        if stops := tally.too_many_refused(source.facts, share, where, key):
            if not self.inspecting:
                raise DataError(stops)
            source.facts["too_many_refused"] = stops
        return source

    def _cached(
        self, located: Located, shares: dict[str, float], build: Callable[[], EncodedSource]
    ) -> EncodedSource:
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
            "trained": located.trained,
            "shares": shares,
            "shown": {key: getattr(self.spec, key) for key in shown},
            "limit": self.limit,
            "vocabulary": self.vocabulary,
            "mode": self.renderer.mode.facts(),
        }
        return cache.cached(Path(self.spec.cache or ""), parts, build)[0]


def _vocabulary(tokenizer: Any, end_ids: list[int]) -> str:
    """Hash everything that determines tokenisation: tokenizer, chat template and end tokens."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([tokenizer.chat_template, end_ids]).encode())
    return digest.hexdigest()


def _only(found: dict[str, EncodedSource]) -> EncodedSource:
    [source] = found.values()
    return source


def _facts(found: dict[str, EncodedSource]) -> dict[str, Any]:
    """Sum the counters over all sources, and keep the facts of each source."""
    counted: dict[str, Counter[str]] = {key: Counter() for key in _COUNTED}
    for source in found.values():
        for key, counter in counted.items():
            counter.update(source.facts[key])
    files = [source.facts["files"] for source in found.values()]
    return {
        **{key: dict(counter) for key, counter in counted.items()},
        "fully_masked": sum(source.facts["fully_masked"] for source in found.values()),
        "files": {name: digest for one in files for name, digest in one.items()},
        "sources": {name: source.facts for name, source in found.items()},
    }


def _mixed(
    found: dict[str, EncodedSource], spec: DataConfig, counts: dict[str, Any]
) -> dict[str, list[Encoded]]:
    """Collect the held-back rows of all sources and draw the training rows by weight.

    Of near-duplicates across sources, the row of the earlier source is kept, separately for
    held-back and for training rows. A training row with a near-duplicate among the held-back rows
    of another source is removed.
    """
    by_row = {
        id(e.row): (split, e)
        for source in found.values()
        for split, rows in source.splits.items()
        for e in rows
    }
    held = {
        name: [e.row for split, rows in source.splits.items() if split != "train" for e in rows]
        for name, source in found.items()
    }
    held, duplicates = mixture.without_duplicates(held)
    splits: dict[str, list[Encoded]] = {}
    for split, encoded in (by_row[id(row)] for rows in held.values() for row in rows):
        splits.setdefault(split, []).append(encoded)
    train = {
        name: [e.row for e in source.splits.get("train", [])] for name, source in found.items()
    }
    train, leaks = mixture.without_held_back(train, held)
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
    counted = Counter(drawn.duplicates) + Counter(duplicates) + Counter(leaks)
    counts["mixture"] = drawn.record() | {"duplicates": dict(counted)}
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
        why = ", ".join(f"{reason} ({n:,})" for reason, n in counts["not_trained"].items())
        raise DataError(
            f"all {masked} rows that fit have no trained token: {why or 'no turn has text'}; check "
            "data.columns, the flags of the turns and the chat template."
        )
    if too_long:
        limit = counts["max_length"]
        raise DataError(
            f"no training rows are left: {too_long} rows are longer than {limit} tokens; raise "
            "trainer.max_length or use a model with more positions."
        )
    if counts["template_refused"]:
        refused = sum(counts["template_refused"].values())
        raise DataError(
            f"no training rows are left: the chat template refuses {refused}; {tally.remedy()}, or "
            "inspect the rows with `python -m experiments data`."
        )
    if counts["rejected"]:
        raise DataError(
            f"no training rows are left: all {counts['rejected']} were rejected; inspect them with "
            "`python -m experiments data`."
        )
    twins = sum(facts["held_back_twins"] for facts in counts["sources"].values())
    if twins:
        raise DataError(
            f"no training rows are left: {twins} rows have the same prompt as a held-out row; "
            "remove repeated rows, or set data.validation_share=0 data.test_share=0."
        )
    raise DataError("no training rows are left: lower data.validation_share and data.test_share.")


def _fingerprint(splits: dict[str, list[Encoded]], evaluated: Evaluated) -> str:
    digest = hashlib.sha256()
    for split, places in sorted(evaluated.unheld.items()):
        contents = [(at, evaluated.digests[split][at]) for at in places]
        digest.update(json.dumps([split, contents]).encode())
    for split, members in sorted(splits.items()):
        for encoded in members:
            digest.update(split.encode() + b"\0" + encoded.ids.tobytes())
            digest.update(json.dumps(encoded.trained).encode())
            if "benchmark" in encoded.row:  # the scoring targets are not all in the tokens
                digest.update(identity.content(encoded.row).encode())
    return digest.hexdigest()[:16]
