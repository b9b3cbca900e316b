"""Records and answers written by hand, for the tests of reports."""

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CATEGORIES = {"single": "calls/exact", "parallel": "calls/exact", "ask": "restraint/correct"}


CATEGORIES |= {"json": "json_output/valid"}


def config(seed: int = 0, lora: str = "all_linear", r: int = 16) -> dict[str, Any]:
    return {
        "model": {"label": "tiny"},
        "data": {"label": "mixed", "seed": 0},
        "lora": {"label": lora, "r": r},
        "trainer": {"precision": "fp32"},
        "eval": {"limit": None},
        "hardware": {"label": "cpu"},
        "seed": seed,
    }


def record(run_id: str, *, seed: int = 0, lora: str = "all_linear", **given: Any) -> dict[str, Any]:
    job = given.get("job", 0)
    exact = given.pop("exact", 0.8)
    tree = {
        "schema_version": 1,
        "run_id": run_id,
        "name": None,
        "status": "finished",
        "started_at": f"2026-01-01T00:00:{job or 0:02d}+00:00",
        "finished_at": f"2026-01-01T00:01:{job or 0:02d}+00:00",
        "job": job,
        "overrides": [f"lora={lora}", f"seed={seed}"],
        "config": config(seed, lora),
        "resolved_from": {},
        "identity": {"code_sha256": "c0de", "data_fingerprint": "da7a", "base_sha256": "ba5e"},
        "adapter": {"trainable_parameters": 1000, "scale": 2.0},
        "scores": {
            "base": {"calls/exact": 0.1, "loss/nll": 2.0},
            "tuned": {"calls/exact": exact, "loss/nll": 1 - exact},
        },
        "counts": {"base": {"calls/exact": 100}, "tuned": {"calls/exact": 100}},
        "timing": {"total_seconds": 20.0, "train_seconds": 12.0},
        "provenance": {"git_commit": "abc123", "git_dirty": False, "command": "python train.py -m"},
        "error": None,
    }
    return tree | given


def item(
    model: str, row: int, category: str, values: dict[str, float], split: str
) -> dict[str, Any]:
    return {
        "model": model,
        "split": split,
        "id": f"{split}-{row}",
        "category": category,
        "nll": (3.0 if model == "base" else 0.6) * (1 + row % 7),
        "trained_tokens": 4 * (1 + row % 5),
        "scores": values,
    }


def answered(
    model: str, share: float, split: str = "test", rows: int = 120
) -> list[dict[str, Any]]:
    draw = random.Random(f"{model} {split}")
    found = []
    for row in range(rows):
        category = list(CATEGORIES)[row % len(CATEGORIES)]
        values = {CATEGORIES[category]: float(draw.random() < share), "calls/malformed": 0.0}
        values["generation/stopped"] = 1.0
        if category == "json":
            values["json_output/values"] = draw.random() * share
        found.append(item(model, row, category, values, split))
    return found


def with_items(tree: dict[str, Any], items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Set scores and counts to the means over the items."""
    sums: dict[tuple[str, str], list[float]] = {}
    nll: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for entry in items:
        prefix = "" if entry["split"] == "test" else f"{entry['split']}/"
        for key, value in entry["scores"].items():
            sums.setdefault((entry["model"], prefix + key), []).append(value)
        part = (entry["nll"], entry["trained_tokens"])
        nll.setdefault((entry["model"], f"{prefix}loss/nll"), []).append(part)
    scores: dict[str, dict[str, float]] = {"base": {}, "tuned": {}}
    counts: dict[str, dict[str, int]] = {"base": {}, "tuned": {}}
    for (model, key), values in sums.items():
        scores[model][key], counts[model][key] = sum(values) / len(values), len(values)
    for (model, key), parts in nll.items():
        counts[model][key] = sum(tokens for _, tokens in parts)
        scores[model][key] = sum(value for value, _ in parts) / counts[model][key]
    return tree | {"scores": scores, "counts": counts}


def put(folder: Path, tree: dict[str, Any], items: Iterable[dict[str, Any]] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(tree), encoding="utf-8")
    lines = "".join(json.dumps(entry) + "\n" for entry in items)
    if lines:
        (folder / "items.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))


def two_arms(folder: Path) -> None:
    """All-linear at 0.70, 0.80, 0.90 by seed; qv 0.05 to 0.06 below it at each seed."""
    values = {"all_linear": (0.70, 0.80, 0.90), "qv": (0.65, 0.74, 0.85)}
    job = 0
    for lora, scores in values.items():
        for seed, exact in enumerate(scores):
            tree = record(f"{lora}{seed}", lora=lora, seed=seed, job=job, exact=exact)
            put(folder / str(job), tree)
            job += 1


def single_run(folder: Path) -> None:
    items = [
        entry
        for model, share in (("base", 0.2), ("tuned", 0.85))
        for split in ("test", "unseen_tools")
        for entry in answered(model, share, split)
    ]
    curve = [
        {"step": s, "loss": 2.5 / (1 + s / 10), "learning_rate": 1e-3} for s in range(1, 101, 5)
    ]
    curve += [{"step": s, "validation_nll": 2.6 / (1 + s / 11)} for s in (20, 40, 60, 80, 100)]
    put(folder, with_items(record("single", curve=curve), items), items)
