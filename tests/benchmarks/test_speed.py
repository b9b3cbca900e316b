"""Ratios against the simple alternative, in one run: `make bench`. Nothing timed is asserted."""

import time
from collections.abc import Callable

from conftest import SMOKE, load
from experiments import data, models
from experiments.evaluation import scoring
from support.chats import generated_alone


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the fastest of a few repeats: the others measure the machine's neighbours."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def test_print_batched_generation_against_one_prompt_at_a_time() -> None:
    run = load(*SMOKE, "model=tiny", "hardware=cpu", "data.test_rows=270")
    base = models.load(run, models.choose_precision(run))
    built = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    prompts = [e.prompt_ids for e in built.splits["test"]]
    subject = scoring.Subject(base.model, base, "base", run.eval)
    together = seconds(lambda: scoring.answer(subject, prompts, "batched", 75))
    alone = seconds(lambda: [generated_alone(base, p, 75) for p in prompts], repeats=2)
    same = [one.text for one in scoring.answer(subject, prompts, "batched", 75)] == [
        generated_alone(base, p, 75)[0] for p in prompts
    ]
    print(
        f"\n{len(prompts)} prompts of the built-in test split: one by one with transformers' "
        f"generate / together = {alone / together:.1f}; the same text: {same}"
    )


def test_print_encoding_against_the_bare_tokenizer() -> None:
    run = load(*SMOKE, "model=tiny", "hardware=cpu", "data.train_rows=900")
    base = models.load(run, models.choose_precision(run))
    built = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    rows = [e.row for e in built.train]
    texts = [built.renderer.text(row) for row in rows]
    ours = seconds(lambda: built.renderer.encode(rows))
    bare = seconds(lambda: base.tokenizer(texts, add_special_tokens=False))
    rendered = seconds(lambda: [built.renderer.text(row) for row in rows])
    print(
        f"\n{len(rows)} rows: rendered, masked, tokenised / tokenised only = {ours / bare:.1f}; "
        f"rendered once and tokenised / tokenised only = {(rendered + bare) / bare:.1f}"
    )
