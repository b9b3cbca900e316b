"""Rows to trained tokens against the bare tokenizer on the same text. Nothing timed is asserted.

Both sides run in a process of their own that has one core, then two, and as many tokenizer
threads. The share by the clock is the figure; the share of CPU time beside it does not change when
others use the cores meanwhile.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import SHARED, environment
from experiments import models
from experiments.config.categories import CATEGORIES
from experiments.data import Renderer, toolworld

ROWS, REPEATS = 4_000, 3
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

    weights = dict.fromkeys(CATEGORIES, 1.0)
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

    def bare() -> None:
        own(texts, add_special_tokens=False, verbose=False)

    def ours() -> None:
        renderer.encode(rows)

    best: dict[Callable[[], None], tuple[float, float]] = {}
    for _ in range(REPEATS):
        for work in (bare, ours):
            clock, cpu = time.perf_counter(), time.process_time()
            work()
            took = time.perf_counter() - clock, time.process_time() - cpu
            before = best.get(work, took)
            best[work] = min(before[0], took[0]), min(before[1], took[1])
    tokens = sum(len(row.ids) for row in renderer.encode(rows))
    turns = sum(m["role"] == "assistant" for row in rows for m in row["messages"])
    print(
        f"{name}: {len(rows)} rows, {tokens / len(rows):.0f} tokens and "
        f"{turns / len(rows):.1f} answers each: rendered, masked, tokenised at "
        f"{best[bare][0] / best[ours][0]:.0%} of the bare tokenizer's speed "
        f"({len(rows) / best[ours][0]:.0f} against {len(rows) / best[bare][0]:.0f} rows/s; "
        f"by CPU time {best[bare][1] / best[ours][1]:.0%})"
    )


def measure(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    for template in ("qwen3", "qwen3_instruct_2507"):
        folder = SHARED / "data" / "tokenizers" / "qwen3"
        folder = folder if folder.is_dir() else models.BASES / "tiny"
        own = tokenizer(folder, template)
        renderer = Renderer(own, [own.convert_tokens_to_ids("<|im_end|>")])
        for name, rows in (("glaive_300 repeated", real()), ("generated", generated())):
            if rows:
                report(f"{cores} core(s), {template}, {name}", renderer, own, rows)


@pytest.mark.parametrize("cores", [1, 2])
def test_print_rendering_against_the_bare_tokenizer(cores: int) -> None:
    threads = {"RAYON_NUM_THREADS": str(cores)}
    parallel = {"TOKENIZERS_PARALLELISM": "false" if cores == 1 else "true"}
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", f"import test_rendering_speed as t; t.measure({cores})"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PYTHONPATH=f"{here}{os.pathsep}{here.parent}", **threads, **parallel),
    )
    print(f"\n{done.stdout}", end="")
