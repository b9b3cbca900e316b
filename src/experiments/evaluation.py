"""Model and test rows -> scores by split and category, and what was answered to every row.

Base and tuned model go through this one path. Answers are generated greedily in left-padded
batches sorted by prompt length; the loss is a token mean over the same rows.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments import answers, metrics
from experiments.config import EvalConfig
from experiments.data import Encoded, TrainData
from experiments.metrics import Item, loss
from experiments.models import Base
from experiments.progress import track

# `make bench` prints what these cost against one prompt at a time.
CPU_BATCH, GPU_BATCH = 64, 32


@dataclass
class Scores:
    """Everything measured of one model."""

    means: dict[str, float] = field(default_factory=dict)
    """Score key (`calls/exact`, `unseen_tools/calls/exact/parallel`) -> mean."""
    counts: dict[str, int] = field(default_factory=dict)
    """Score key -> number of items (tokens for `loss/nll`) behind the mean."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """One plain dict per row and split."""


@dataclass(frozen=True)
class Subject:
    """The model that is scored."""

    model: Any
    base: Base
    """Its tokenizer, end tokens and device."""
    label: str
    """`base` or `tuned`, in items and progress."""
    spec: EvalConfig
    budget: int
    """Longest answer, in tokens."""


def score(model: Any, base: Base, data: TrainData, spec: EvalConfig, *, label: str) -> Scores:
    """Score one model on every split that is there; `label` names it in items and progress.

    The model is left in evaluation mode: training leaves it with its dropout on.
    """
    model.eval()
    scores = Scores()
    subject = Subject(model, base, label, spec, answer_budget(data, spec))
    if data.validation:
        parts = loss.token_nll(model, data.validation)
        _add_loss(scores, "validation/", data.validation, parts)
    for split in spec.splits:
        rows = data.splits.get(split, [])[: spec.limit]
        if rows:
            _score_split(scores, subject, rows, split)
    return scores


def answer_budget(data: TrainData, spec: EvalConfig) -> int:
    """Return the longest answer allowed, in tokens: as configured, else 1.25 x the longest gold."""
    if spec.max_new_tokens is not None:
        return spec.max_new_tokens
    longest = max((e.answer_tokens for s in spec.splits for e in data.splits.get(s, [])), default=8)
    return longest + (longest + 3) // 4


def _score_split(scores: Scores, subject: Subject, rows: Sequence[Encoded], split: str) -> None:
    prefix = "" if split == "test" else f"{split}/"
    parts = loss.token_nll(subject.model, rows)
    _add_loss(scores, prefix, rows, parts)
    texts = generate(subject, [e.prompt_ids for e in rows], split)
    modules = {name: metrics.load(name) for name in [*subject.spec.metrics, "generation"]}
    per_key: dict[str, list[float]] = defaultdict(list)
    for encoded, (text, stopped, new_tokens), (nll, tokens) in zip(rows, texts, parts, strict=True):
        item = Item(encoded.row, answers.parse(text), stopped, new_tokens)
        own = {
            f"{name}/{key}": value
            for name, module in modules.items()
            for key, value in module.score(item).items()
        }
        category = encoded.row.get("category")
        for key, value in own.items():
            per_key[f"{prefix}{key}"].append(value)
            if category:
                per_key[f"{prefix}{key}/{category}"].append(value)
        scores.items.append(
            {
                "model": subject.label,
                "split": split,
                "id": encoded.row["id"],
                "category": category,
                "text": text,
                "stopped": stopped,
                "new_tokens": new_tokens,
                "nll": nll,
                "trained_tokens": tokens,
                "scores": own,
            }
        )
    for key, values in per_key.items():
        scores.means[key] = sum(values) / len(values)
        scores.counts[key] = len(values)


def _add_loss(
    scores: Scores, prefix: str, rows: Sequence[Encoded], parts: Sequence[tuple[float, int]]
) -> None:
    """Add the token mean over all rows and per category."""
    groups: dict[str, list[tuple[float, int]]] = {f"{prefix}loss/nll": list(parts)}
    for encoded, part in zip(rows, parts, strict=True):
        if encoded.row.get("category"):
            key = f"{prefix}loss/nll/{encoded.row['category']}"
            groups.setdefault(key, []).append(part)
    for key, members in groups.items():
        scores.means[key] = loss.mean_nll(members)
        scores.counts[key] = sum(tokens for _, tokens in members)


def generate(
    subject: Subject, prompts: Sequence[list[int]], what: str
) -> list[tuple[str, bool, int]]:
    """Answer each prompt greedily; `what` names the prompts in the progress line.

    Returns:
        For each prompt the answer's text, whether it ended by itself, and its length in tokens.
    """
    base = subject.base
    default = CPU_BATCH if base.precision.device == "cpu" else GPU_BATCH
    size = subject.spec.batch_size or default
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    batches = [order[at : at + size] for at in range(0, len(order), size)]
    done: list[tuple[str, bool, int]] = [("", False, 0)] * len(prompts)
    label = f"answers of the {subject.label} model, {what}"
    for batch in track(batches, len(batches), label, "batches"):
        answered = _generate_batch(subject, [prompts[i] for i in batch])
        for i, new_ids in zip(batch, answered, strict=True):
            done[i] = _read(base, new_ids)
    return done


def _generate_batch(subject: Subject, prompts: list[list[int]]) -> Iterator[list[int]]:
    """Yield the new token ids of each prompt, up to and including the first end token."""
    import torch
    from transformers import GenerationConfig

    model, base = subject.model, subject.base
    width = max(map(len, prompts))
    pad = base.tokenizer.pad_token_id
    ids_BL = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    mask_BL = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    config = GenerationConfig(
        do_sample=False,
        use_cache=True,
        max_new_tokens=max(1, min(subject.budget, base.positions - width)),
        eos_token_id=base.end_ids,
        pad_token_id=pad,
    )
    with torch.inference_mode():
        out_BL = model.generate(
            input_ids=ids_BL.to(model.device),
            attention_mask=mask_BL.to(model.device),
            generation_config=config,
        )
    ends = set(base.end_ids)
    for new_ids in out_BL[:, width:].tolist():
        stop = next((i for i, token in enumerate(new_ids) if token in ends), None)
        yield new_ids if stop is None else new_ids[: stop + 1]


def _read(base: Base, new_ids: list[int]) -> tuple[str, bool, int]:
    stopped = bool(new_ids) and new_ids[-1] in base.end_ids
    text = base.tokenizer.decode(new_ids[:-1] if stopped else new_ids, skip_special_tokens=False)
    return text, stopped, len(new_ids)
