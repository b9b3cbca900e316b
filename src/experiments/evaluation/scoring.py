"""Evaluate a model on test rows: scores by split and category, and the answer to every row.

The base and the tuned model are evaluated in the same way. Every row is answered once with greedy
decoding, and all metrics score that answer; the loss is a mean over tokens of the same rows.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config import EvalConfig
from experiments.data import Encoded, TrainData
from experiments.evaluation import (
    held_out,
    item_scores,
    progress_file,
    row_losses,
    shared,
    unanswered,
)
from experiments.evaluation.batched_generation import Generated, Limits
from experiments.evaluation.held_out import Window
from experiments.models import Base
from experiments.runtime import budget, distributed
from experiments.runtime.progress import track


@dataclass
class Scores:
    """All results of one model."""

    means: dict[str, float] = field(default_factory=dict)
    """Maps a score key (`calls/exact`, `unseen_tools/calls/exact/parallel`) to its mean."""
    counts: dict[str, int] = field(default_factory=dict)
    """Maps a score key to the number of items (for a loss, tokens or bytes) in the mean."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """One plain dict per row and split."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """`split` and `row` of each item of a split, in the same order."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How the answers were generated: limits, stop reasons, defects by split, adaptations to
    memory."""


@dataclass(frozen=True)
class Subject:
    """The model to evaluate."""

    model: Any
    base: Base
    """Its tokenizer, end tokens and device."""
    label: str
    """`base` or `tuned`, in items and progress."""
    spec: EvalConfig
    folder: Path | None = None
    """Folder that stores answers until the run is finished; None = do not store them."""


@dataclass(frozen=True)
class HeldOut:
    """The text that measures forgetting, and the base model's loss on it."""

    windows: list[Window]
    base_nll: list[float]
    """Summed NLL of each window under the base model without an adapter, in nats."""


def score(subject: Subject, data: TrainData, text: HeldOut | None = None) -> Scores:
    """Evaluate one model on every available split, and on the held-out text."""
    scores = Scores(facts={"max_new_tokens": {}, "stop_reasons": {}, "defects": {}, "notes": []})
    scores.facts["asked"] = data.mode.facts()
    if data.validation:
        made = _losses(subject, data.validation)
        _add_losses(scores, "validation/", data.validation, made)
    for split, rows in data.evaluated_splits(subject.spec):
        scores.facts["max_new_tokens"][split] = data.answer_budget(subject.spec, split)
        unheld = data.evaluated.unanswered(split, subject.spec.limit)
        _score_split(scores, subject, rows, split, unheld, data)
    if text is not None:
        _score_text(scores, subject, text)
    return scores


def answer(
    subject: Subject,
    prompts: Sequence[list[int]],
    split: str,
    new_tokens: int,
    notes: list[str] | None = None,
) -> list[Generated]:
    """Answer prompts with greedy decoding, reusing the answers from before an interruption.

    Out-of-memory events are added to `notes`.
    """
    limits = Limits(new_tokens, subject.spec.batch_size)
    file = None
    if subject.folder is not None:
        file = subject.folder / progress_file.FOLDER / f"{subject.label}_{split}.jsonl"

    def stored() -> tuple[str, dict[int, Generated]]:
        if file is None:
            return "", {}
        key = progress_file.key(subject.model, subject.base, prompts, limits)
        return key, progress_file.found(file, key)

    # Read by one process, because the others already add answers while it reads.
    key, done = distributed.on_main_process(stored)
    left = [i for i in range(len(prompts)) if i not in done]
    label = f"answers of the {subject.label} model, {split}"
    alone = distributed.world_size() == 1
    own = -(-len(left) // distributed.world_size())
    shows = distributed.is_main_process()
    bar = iter(track(range(own), own, label, "answers")) if shows else iter(())

    given_here = 0

    def stop_in_time() -> None:
        budget.check(
            f"evaluation stopped after {len(done) + given_here} of {len(prompts)} answers of the "
            f"{subject.label} model on {split}, which are saved"
        )

    def shown() -> None:
        nonlocal given_here
        given_here += 1
        next(bar, None)
        # Several processes answer a split to its end: if one stopped, the others would wait
        # forever.
        if alone and given_here < len(left):
            stop_in_time()

    if left:
        distributed.on_main_process(stop_in_time)

    request = shared.GenerationRequest([prompts[i] for i in left], limits, file, key, left)
    given, adapted = shared.answers(subject.model, subject.base, request, shown)
    next(bar, None)  # closes the progress bar
    if notes is not None:
        notes += [f"{split}: {note}" for note in adapted]
    done |= zip(left, given, strict=True)
    return [done[i] for i in range(len(prompts))]


def _score_split(
    scores: Scores,
    subject: Subject,
    rows: Sequence[Encoded],
    split: str,
    unheld: Sequence[dict[str, Any]],
    data: TrainData,
) -> None:
    prefix = "" if split == "test" else f"{split}/"
    losses = _losses(subject, rows)
    _add_losses(scores, prefix, rows, losses)
    own = data.mode.asked == "on" or subject.label == "base"
    prompts = [e.asked_ids(own=own) for e in rows]
    budget, notes = scores.facts["max_new_tokens"][split], scores.facts["notes"]
    given = answer(subject, prompts, split, budget, notes)
    about = {"model": subject.label, "split": split}
    items = [
        # Thinking that was opened in the prompt may end in the answer.
        about | _kept(encoded, one, parts, data.mode.opened + one.text)
        for encoded, one, parts in zip(rows, given, losses, strict=True)
    ]
    items += unanswered.items(unheld, about)
    asked = [*(encoded.row for encoded in rows), *unheld]
    made = distributed.on_main_process(
        lambda: item_scores.score(items, asked, subject.spec.metrics, data.call_form)
    )
    scores.means |= made.means
    scores.counts |= made.counts
    scores.items += items
    scores.rows += [{"split": split, "row": row} for row in asked]
    scores.facts["stop_reasons"][split] = dict(Counter(one.stop_reason for one in given))
    scores.facts["defects"][split] = made.defects
    if unheld:
        scores.facts.setdefault("unanswered", {})[split] = len(unheld)


def _kept(encoded: Encoded, one: Generated, parts: row_losses.Parts, text: str) -> dict[str, Any]:
    """Return the stored part of an answer, from which every metric can be computed."""
    said = {"id": encoded.row["id"], "category": encoded.row.get("category"), "text": text}
    ended = {"stop_reason": one.stop_reason, "stopped": one.stopped, "new_tokens": one.new_tokens}
    return said | ended | {"defects": [], "parts": parts}


def _losses(subject: Subject, rows: Sequence[Encoded]) -> list[row_losses.Parts]:
    """Return the loss parts of each row, which are empty for a row without trained tokens."""
    trained = [e for e in rows if e.trained_tokens]
    found = iter(shared.token_losses(subject.model, trained))
    base = subject.base
    ends = set(base.end_ids)
    return [
        row_losses.parts(e, next(found), base.tokenizer, ends) if e.trained_tokens else {}
        for e in rows
    ]


def _add_losses(
    scores: Scores, prefix: str, rows: Sequence[Encoded], losses: Sequence[row_losses.Parts]
) -> None:
    """Add the means over all rows, and the mean NLL of each category."""
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for encoded, parts in zip(rows, losses, strict=True):
        category = encoded.row.get("category")
        for key, part in parts.items():
            groups[prefix + key].append(part)
            if category and key == "loss/nll":
                groups[f"{prefix}{key}/{category}"].append(part)
    _add_means(scores, groups)


def _add_means(scores: Scores, groups: dict[str, list[tuple[float, float]]]) -> None:
    for key, members in groups.items():
        weight = sum(weight for _, weight in members)
        scores.means[key] = sum(total for total, _ in members) / max(1, weight)
        scores.counts[key] = int(weight)


def _score_text(scores: Scores, subject: Subject, text: HeldOut) -> None:
    """Add the loss on the held-out text, and for a tuned model its increase over the base."""
    import math

    tuned = subject.label != "base"
    nll = held_out.losses(subject.model, text.windows) if tuned else text.base_nll
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, (window, own, before) in enumerate(
        zip(text.windows, nll, text.base_nll, strict=True)
    ):
        tokens = len(window.input_ids) - 1
        parts: row_losses.Parts = {"forgetting/nll": (own, tokens)}
        if window.text_bytes:
            parts["forgetting/bits_per_byte"] = (own / math.log(2), window.text_bytes)
        if tuned:
            parts["forgetting/increase"] = (own - before, tokens)
        for key, part in parts.items():
            groups[key].append(part)
        about = {"model": subject.label, "split": "held_out_text", "id": f"window-{number}"}
        scores.items.append(about | {"category": None, "parts": parts, "scores": {}})
    _add_means(scores, groups)
