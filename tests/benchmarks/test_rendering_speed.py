"""Rows to trained tokens against the bare tokenizer on the same text. Nothing timed is asserted.

Both sides use the cores that the tokenizer is given: TOKENIZERS_PARALLELISM=false is one core.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from conftest import SHARED
from experiments import models, toolworld
from experiments.data import Renderer

ROWS = 10_000
Row = dict[str, Any]


def tokenizer(folder: Path, template: str) -> Any:
    import trl
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder)
    path = Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja"
    found.chat_template = path.read_text(encoding="utf-8")
    return found


def real() -> list[Row]:
    """Return the converted glaive rows, again and again under new ids; none where absent."""
    path = SHARED / "data" / "converted" / "glaive_300.jsonl"
    if not path.is_file():
        return []
    read = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    read = [row | {"tools": json.loads(row["tools"])} for row in read]
    return [read[i % len(read)] | {"id": f"g-{i}"} for i in range(ROWS)]


def generated() -> list[Row]:
    """Return rows of glaive's size: small talk in full sentences before a tool world's row."""
    draw = random.Random("rendering benchmark")
    words = ("order", "book", "will", "arrive", "sunny", "day", "in", "May", "near", "our", "port")

    def sentences(count: int) -> str:
        return " ".join(
            " ".join(draw.choices(words, k=12)).capitalize() + "." for _ in range(count)
        )

    weights = dict.fromkeys(toolworld.CATEGORIES, 1.0)
    rows: list[Row] = [dict(row) for row in toolworld.rows("train", ROWS, seed=0, weights=weights)]
    for row in rows:
        talk = [{"role": "system", "content": sentences(2)}]
        for _ in range(3):
            talk.append({"role": "user", "content": sentences(2)})
            talk.append({"role": "assistant", "content": sentences(4)})
        before = [m for m in row["messages"] if m["role"] != "system"]
        row["messages"] = talk + before
    return rows


def report(name: str, renderer: Renderer, own: Any, rows: list[Row]) -> None:
    texts = [renderer.text(row) for row in rows]
    best = {"bare": float("inf"), "ours": float("inf")}
    for _ in range(2):
        began = time.perf_counter()
        own(texts, add_special_tokens=False, verbose=False)
        best["bare"] = min(best["bare"], time.perf_counter() - began)
        began = time.perf_counter()
        encoded = renderer.encode(rows)
        best["ours"] = min(best["ours"], time.perf_counter() - began)
    tokens = sum(len(row.ids) for row in encoded)
    turns = sum(m["role"] == "assistant" for row in rows for m in row["messages"])
    cores = 1 if os.environ.get("TOKENIZERS_PARALLELISM") == "false" else os.cpu_count()
    print(
        f"\n{name}: {len(rows)} rows, {tokens / len(rows):.0f} tokens and "
        f"{turns / len(rows):.1f} answers each, {cores} core(s): "
        f"rendered, masked, tokenised at {best['bare'] / best['ours']:.0%} of the bare tokenizer's "
        f"speed ({len(rows) / best['ours']:.0f} against {len(rows) / best['bare']:.0f} rows/s)"
    )


def test_print_rendering_against_the_bare_tokenizer() -> None:
    for template in ("qwen3", "qwen3_instruct_2507"):
        folder = SHARED / "data" / "tokenizers" / "qwen3"
        folder = folder if folder.is_dir() else models.BASES / "tiny"
        own = tokenizer(folder, template)
        renderer = Renderer(own, [own.convert_tokens_to_ids("<|im_end|>")])
        for name, rows in (("glaive_300 repeated", real()), ("generated", generated())):
            if rows:
                report(f"{template}, {folder.name}, {name}", renderer, own, rows)
