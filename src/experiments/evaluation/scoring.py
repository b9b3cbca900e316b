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
    first_look,
    held_out,
    item_scores,
    progress_file,
    row_losses,
    shared,
    unanswered,
)
from experiments.evaluation.batched_generation import Generated, Limits
from experiments.evaluation.first_look import FirstLook
from experiments.evaluation.held_out import Window
from experiments.models import Base
from experiments.runtime import budget, distributed
from experiments.runtime.progress import log, track


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


@dataclass(frozen=True)
class Losses:
    """The losses of one model on the rows of the test splits, without answers."""

    means: dict[str, float]
    """Maps a score key (`loss/nll`, `unseen_tools/loss/nll_prose`) to its mean."""
    parts: dict[str, list[row_losses.Parts]]
    """By split, the parts of each row, in the order of the rows that `score` answers."""


def losses(subject: Subject, data: TrainData) -> Losses:
    """Compute the losses that `score` computes on every available test split."""
    scores, parts = Scores(), {}
    for split, rows in data.evaluated_splits(subject.spec):
        parts[split] = _losses(subject, rows, split)
        _add_losses(scores, _prefix(split), rows, parts[split])
    return Losses(scores.means, parts)


def _prefix(split: str) -> str:
    return "" if split == "test" else f"{split}/"


def score(subject: Subject, data: TrainData, held_out_text: HeldOut | None = None) -> Scores:
    """Evaluate one model on every available split, and on the held-out text."""
    scores = Scores(facts={"max_new_tokens": {}, "stop_reasons": {}, "defects": {}, "notes": []})
    scores.facts["asked"] = data.mode.facts()
    if data.validation:
        validation_losses = _losses(subject, data.validation, "validation")
        _add_losses(scores, "validation/", data.validation, validation_losses)
    for split, rows in data.evaluated_splits(subject.spec):
        unheld = data.evaluated.unanswered(split, subject.spec.limit)
        _score_split(scores, subject, rows, split, unheld, data)
    if held_out_text is not None:
        _score_text(scores, subject, held_out_text)
    return scores


def answer(
    subject: Subject,
    prompts: Sequence[list[int]],
    split: str,
    new_tokens: int,
    notes: list[str] | None = None,
    look: FirstLook | None = None,
) -> list[Generated]:
    """Answer prompts with greedy decoding, reusing the answers from before an interruption.

    Out-of-memory events are added to `notes`. With `look`, the first prompts are answered first.
    """
    limits = Limits(new_tokens, subject.spec.batch_size)
    file = None
    if subject.folder is not None:
        file = subject.folder / progress_file.FOLDER / f"{subject.label}_{split}.jsonl"

    def load_stored() -> tuple[str, dict[int, Generated]]:
        if file is None:
            return "", {}
        key = progress_file.key(subject.model, subject.base, prompts, limits)
        return key, progress_file.saved_answers(file, key)

    # Read by one process, because the others already add answers while it reads.
    key, done = distributed.on_main_process(load_stored)
    pending = [i for i in range(len(prompts)) if i not in done]
    label = f"answers of the {subject.label} model, {split}"
    single_process = distributed.world_size() == 1
    expected = -(-len(pending) // distributed.world_size())
    is_main = distributed.is_main_process()
    bar = iter(track(range(expected), expected, label, "answers")) if is_main else iter(())

    answered_here = 0

    def stop_in_time() -> None:
        budget.check(
            f"evaluation stopped after {len(done) + answered_here} of {len(prompts)} answers of "
            f"the {subject.label} model on {split}, which are saved"
        )

    def on_answer() -> None:
        nonlocal answered_here
        answered_here += 1
        next(bar, None)
        # Several processes answer a split to its end: if one stopped, the others would wait
        # forever.
        if single_process and answered_here < len(pending):
            stop_in_time()

    if pending:
        distributed.on_main_process(stop_in_time)

    for part in _parts(pending, look):
        request = shared.GenerationRequest([prompts[i] for i in part], limits, file, key, part)
        generated, memory_notes = shared.answers(subject.model, subject.base, request, on_answer)
        if notes is not None:
            notes += [f"{split}: {note}" for note in memory_notes]
        done |= zip(part, generated, strict=True)
        _show(look, part, done)
    next(bar, None)  # closes the progress bar
    return [done[i] for i in range(len(prompts))]


def _show(look: FirstLook | None, part: Sequence[int], done: dict[int, Generated]) -> None:
    """Show the first look, if its last rows were just answered."""
    if look is not None and part[0] < look.rows:
        look.show([done[i] for i in range(look.rows)])


def _parts(pending: Sequence[int], look: FirstLook | None) -> list[list[int]]:
    """Return the indices of prompts that are answered together, those of the first look first."""
    count = 0 if look is None else look.rows
    parts = ([i for i in pending if i < count], [i for i in pending if i >= count])
    return [part for part in parts if part]


def _score_split(
    scores: Scores,
    subject: Subject,
    rows: Sequence[Encoded],
    split: str,
    unheld: Sequence[dict[str, Any]],
    data: TrainData,
) -> None:
    answers = _answers(scores, subject, rows, split, data) if subject.spec.metrics else []
    losses_of_rows = _losses(subject, rows, split)
    _add_losses(scores, _prefix(split), rows, losses_of_rows)
    common_fields = {"model": subject.label, "split": split}
    scored_rows = [*(encoded.row for encoded in rows), *unheld]
    scores.rows += [{"split": split, "row": row} for row in scored_rows]
    if unheld:
        scores.facts.setdefault("unanswered", {})[split] = len(unheld)
    if not subject.spec.metrics:
        scores.items += [
            common_fields | _row_fields(encoded) | {"scores": {}, "parts": parts}
            for encoded, parts in zip(rows, losses_of_rows, strict=True)
        ]
        return
    items = [
        # Thinking that was opened in the prompt may end in the answer.
        common_fields | _stored_item(encoded, generated, parts, data.mode.opened + generated.text)
        for encoded, generated, parts in zip(rows, answers, losses_of_rows, strict=True)
    ]
    items += unanswered.items(unheld, common_fields)
    split_scores = distributed.on_main_process(
        lambda: item_scores.score(items, scored_rows, subject.spec.metrics, data.call_form)
    )
    scores.means |= split_scores.means
    scores.counts |= split_scores.counts
    scores.items += items
    scores.facts["stop_reasons"][split] = dict(
        Counter(generated.stop_reason for generated in answers)
    )
    scores.facts["defects"][split] = split_scores.defects


def _answers(
    scores: Scores, subject: Subject, rows: Sequence[Encoded], split: str, data: TrainData
) -> list[Generated]:
    """Return the answer to each row, and show the first look of the first split."""
    own_prompt = data.mode.asked == "on" or subject.label == "base"
    prompts = [e.asked_ids(own=own_prompt) for e in rows]
    new_tokens = data.answer_budget(subject.spec, split)
    scores.facts["max_new_tokens"][split] = new_tokens
    look = _first_look(subject, rows, prompts, split, data) if not scores.items else None
    return answer(subject, prompts, split, new_tokens, scores.facts["notes"], look)


def _first_look(
    subject: Subject,
    rows: Sequence[Encoded],
    prompts: Sequence[list[int]],
    split: str,
    data: TrainData,
) -> FirstLook | None:
    """Return what shows the scores of the first rows of a split; None if that saves no time."""
    count = first_look.rows(subject.spec, prompts, subject.base.parameters)
    if not count:
        return None
    log(f"answers of the {subject.label} model, {split}: 0/{len(rows)}, {count} of them first")
    title = f"{subject.label}, {count} of {len(rows)} {split} rows"

    def show(answers: Sequence[Generated]) -> None:
        fields = {"model": subject.label, "split": split}
        items = [
            fields | _stored_item(encoded, generated, {}, data.mode.opened + generated.text)
            for encoded, generated in zip(rows[:count], answers, strict=True)
        ]
        scored_rows = [encoded.row for encoded in rows[:count]]
        first_look.show(title, items, scored_rows, subject.spec.metrics, data.call_form)

    return FirstLook(count, show)


def _stored_item(
    encoded: Encoded, generated: Generated, parts: row_losses.Parts, text: str
) -> dict[str, Any]:
    """Return the stored part of an answer, from which every metric can be computed."""
    end_fields = {
        "text": text,
        "stop_reason": generated.stop_reason,
        "stopped": generated.stopped,
        "new_tokens": generated.new_tokens,
    }
    return _row_fields(encoded) | end_fields | {"defects": [], "parts": parts}


def _row_fields(encoded: Encoded) -> dict[str, Any]:
    return {"id": encoded.row["id"], "category": encoded.row.get("category")}


def _losses(subject: Subject, rows: Sequence[Encoded], split: str) -> list[row_losses.Parts]:
    """Return the loss parts of each row, which are empty for a row without trained tokens."""
    trained = [e for e in rows if e.trained_tokens]
    label = f"losses of the {subject.label} model, {split}"
    row_losses_of_trained = iter(shared.token_losses(subject.model, trained, label))
    base = subject.base
    ends = set(base.end_ids)
    return [
        row_losses.parts(e, next(row_losses_of_trained), base.tokenizer, ends)
        if e.trained_tokens
        else {}
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
    for key, parts in groups.items():
        weight = sum(weight for _, weight in parts)
        scores.means[key] = sum(total for total, _ in parts) / max(1, weight)
        scores.counts[key] = int(weight)


def _score_text(scores: Scores, subject: Subject, held_out_text: HeldOut) -> None:
    """Add the loss on the held-out text, and for a tuned model its increase over the base."""
    import math

    tuned = subject.label != "base"
    nll = held_out.losses(subject.model, held_out_text.windows) if tuned else held_out_text.base_nll
    groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, (window, window_nll, base_nll) in enumerate(
        zip(held_out_text.windows, nll, held_out_text.base_nll, strict=True)
    ):
        tokens = len(window.input_ids) - 1
        parts: row_losses.Parts = {"forgetting/nll": (window_nll, tokens)}
        if window.text_bytes:
            parts["forgetting/bits_per_byte"] = (window_nll / math.log(2), window.text_bytes)
        if tuned:
            parts["forgetting/increase"] = (window_nll - base_nll, tokens)
        for key, part in parts.items():
            groups[key].append(part)
        common_fields = {"model": subject.label, "split": "held_out_text", "id": f"window-{number}"}
        scores.items.append(common_fields | {"category": None, "parts": parts, "scores": {}})
    _add_means(scores, groups)
