"""The rows that a run trains on and evaluates, with their hash and counts."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.config import EvalConfig
from experiments.config.benchmarks import split_names
from experiments.data import benchmark_prompts, identity
from experiments.data.evaluation_rows import Evaluated
from experiments.data.rendering import Encoded, Renderer
from experiments.data.thinking import Mode
from experiments.toolcalls.parser import HERMES_TAGS, CallForm


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
        evaluated = self.evaluated
        generated = {split: evaluated.rows(split, spec.limit) for split in self._asked_splits(spec)}
        selection = (
            {"validation": evaluated.rows("validation", spec.loss_rows)} if self.validation else {}
        )
        return selection | generated

    def _asked_splits(self, spec: EvalConfig) -> list[str]:
        benchmark_splits = [
            split for name in spec.benchmarks for split in split_names(name).values()
        ]
        return [s for s in (*spec.splits, *benchmark_splits) if self.evaluated.digests.get(s)]

    def answer_budget(self, spec: EvalConfig, split: str) -> int:
        """Return the maximum answer length of a split in tokens; the data's splits share one."""
        splits = spec.splits if split in spec.splits else [split]
        rows = (encoded for name in splits for encoded in self.splits.get(name, []))
        return benchmark_prompts.answer_budget(rows, spec, thinks=self.mode.asked == "on")

    @property
    def mode(self) -> Mode:
        """How thinking is set when the model generates answers."""
        return self.renderer.mode


def train_rows_hash(rows: list[Encoded]) -> str:
    """Hash the tokens and labels of training rows, whatever their order."""
    contents = sorted(e.ids.tobytes() + json.dumps(e.trained).encode() for e in rows)
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def fingerprint(splits: dict[str, list[Encoded]], evaluated: Evaluated) -> str:
    """Hash every token and label, and the rows that do not fit into the model's context."""
    digest = hashlib.sha256()
    for split, unheld in sorted(evaluated.unheld.items()):
        contents = [(index, evaluated.digests[split][index]) for index in unheld]
        digest.update(json.dumps([split, contents]).encode())
    for split, rows in sorted(splits.items()):
        for encoded in rows:
            digest.update(split.encode() + b"\0" + encoded.ids.tobytes())
            digest.update(json.dumps(encoded.trained).encode())
            if "benchmark" in encoded.row:  # the scoring targets are not all in the tokens
                digest.update(identity.content(encoded.row).encode())
    return digest.hexdigest()[:16]
