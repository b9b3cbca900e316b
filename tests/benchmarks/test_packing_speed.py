"""Padding against block masks, in one run: `make bench`. Nothing timed is asserted.

A packed micro-batch computes no padding, but attention over all its tokens at once where the
kernel knows masks and no lengths (SDPA): whether that pays depends on lengths and kernel, and a
ratio of one machine says little about another.
"""

import functools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from conftest import SMOKE, load
from experiments import data, models, training
from experiments.training import packing

Row = dict[str, list[int]]


def seconds(works: Sequence[Callable[[], object]], repeats: int = 2) -> list[float]:
    """Return the least CPU time of each, taken in turn: neighbours of the machine do not count."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for place, work in enumerate(works):
            began = time.process_time()
            work()
            best[place] = min(best[place], time.process_time() - began)
    return best


def adapted(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, lora).train()


def qwen3_two_layers() -> Any:
    """Return two layers of Qwen3-0.6B's geometry; its head is left out of what is timed."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=2048,
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=2,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=128,
        )
    )


def padded(rows: Sequence[Row]) -> dict[str, Any]:
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]
    mask = [[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def packed(rows: Sequence[Row]) -> dict[str, Any]:
    batch = packing.collate(rows)
    return {name: batch[name] for name in ("input_ids", "position_ids")}


def cut(rows: Sequence[Row], order: Sequence[int], size: int) -> Iterator[list[Row]]:
    for at in range(0, len(order), size):
        yield [rows[i] for i in order[at : at + size]]


def pass_over(model: Any, batches: Sequence[dict[str, Any]]) -> None:
    """Run every micro-batch forward and backward through the layers, without the head."""
    backbone = model.get_base_model().model
    for batch in batches:
        hidden_BLD = backbone(**batch, use_cache=False).last_hidden_state
        hidden_BLD.float().pow(2).mean().backward()
    model.zero_grad()


def compare(name: str, model: Any, rows: Sequence[Row], *, batch: int, micro: int) -> None:
    lengths = [len(row["input_ids"]) for row in rows]
    plan = training.StepPlan(len(rows) // batch, batch, micro, 0, 1, 1)
    grouped = training.row_order(lengths, plan, seed=0)
    mixed = list(range(len(rows)))
    random.Random(0).shuffle(mixed)
    arms = {
        "padded, rows as they come": [padded(part) for part in cut(rows, mixed, micro)],
        "padded, rows of like length": [padded(part) for part in cut(rows, grouped, micro)],
        "packed, rows of like length": [packed(part) for part in cut(rows, grouped, micro)],
    }
    works = [functools.partial(pass_over, model, batches) for batches in arms.values()]
    took = dict(zip(arms, seconds(works), strict=True))
    tokens = sum(lengths)
    print(
        f"\n{name}, {len(rows)} rows of {min(lengths)} to {max(lengths)} tokens, {micro} at a time"
    )
    for arm, batches in arms.items():
        computed = sum(one["input_ids"].numel() for one in batches)
        print(
            f"  {arm}: {computed / tokens:.2f} tokens computed per token of a row, "
            f"{tokens / took[arm]:.0f} tokens a second of CPU time, "
            f"{took['padded, rows of like length'] / took[arm]:.2f} of the padded of like length"
        )


def test_print_packed_against_padded_on_the_embedded_base() -> None:
    run = load(*SMOKE, "model=tiny", "hardware=cpu", "data.train_rows=64")
    base = models.load(run, models.choose_precision(run))
    built = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    rows = [{"input_ids": e.input_ids, "labels": e.labels} for e in built.train]
    model = adapted(base.model)
    for micro in (4, 8):
        compare("embedded base", model, rows, batch=16, micro=micro)


def test_print_packed_against_padded_on_two_layers_of_qwen3_0_6b() -> None:
    torch.manual_seed(0)
    made = random.Random(0)
    model = adapted(qwen3_two_layers())
    for low, high, count in ((60, 240, 16), (200, 600, 8)):
        rows = []
        for _ in range(count):
            ids = [made.randrange(3, 2048) for _ in range(made.randint(low, high))]
            rows.append({"input_ids": ids, "labels": ids})
        compare("Qwen3-0.6B, 2 of 28 layers", model, rows, batch=count, micro=4)
