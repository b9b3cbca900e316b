"""Answers written together are the answers that transformers' `generate` gives one by one."""

import dataclasses
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import data, models
from experiments.evaluation import batched_generation, scoring
from experiments.evaluation.batched_generation import Generated, Limits
from experiments.models import Base
from support.chats import generated_alone

TOKENS = 40


@pytest.fixture(scope="module")
def base() -> Base:
    run = load(*SMOKE, "hardware=cpu")
    return models.load(run, models.choose_precision(run))


@pytest.fixture(scope="module")
def prompts(base: Base) -> list[list[int]]:
    run = load(*SMOKE, "hardware=cpu", "data.train_rows=60")
    built = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    return [e.prompt_ids for e in built.train]


@pytest.fixture(scope="module")
def alone(base: Base, prompts: list[list[int]]) -> list[tuple[str, int]]:
    return [generated_alone(base, prompt, TOKENS) for prompt in prompts]


def together(base: Base, prompts: list[list[int]], rows: int | None = None) -> list[Generated]:
    done: dict[int, Generated] = {}
    limits = Limits(TOKENS, rows)
    batched_generation.generate(base.model, base, prompts, limits, done.__setitem__)
    assert len(done) == len(prompts)
    return [done[i] for i in range(len(prompts))]


def plain(answers: list[Generated]) -> list[tuple[str, int]]:
    return [(one.text, one.new_tokens) for one in answers]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [None, 1, 7, 40])
def test_answers_do_not_depend_on_how_many_are_written_at_a_time(
    base: Base, prompts: list[list[int]], alone: list[tuple[str, int]], rows: int | None
) -> None:
    some = slice(0, 12) if rows == 1 else slice(None)
    assert plain(together(base, prompts[some], rows)) == alone[some]


@pytest.mark.slow
def test_a_shared_beginning_is_read_once(base: Base, prompts: list[list[int]]) -> None:
    beginning = max(prompts, key=len)[:150]
    same = [beginning + prompt[-20:] for prompt in prompts[:20]] + prompts[20:30]
    read: list[int] = []

    def count(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        read.append(kwargs["input_ids"].numel())

    hook = base.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        answers = together(base, same)
    finally:
        hook.remove()
    assert plain(answers) == [generated_alone(base, prompt, TOKENS) for prompt in same]
    assert max(read[:3]) < 150 * 20  # not once for each of the twenty
    assert 150 in read


@pytest.mark.slow
def test_prompts_that_are_one_anothers_beginning_are_answered_too(base: Base) -> None:
    words = random.Random(0).choices(range(20, 900), k=200)
    nested = [words[:length] for length in range(100, 120)]
    assert plain(together(base, nested)) == [generated_alone(base, p, TOKENS) for p in nested]


def test_an_answer_ends_at_the_models_last_position(base: Base, prompts: list[list[int]]) -> None:
    short = dataclasses.replace(base, positions=len(prompts[0]) + 3, end_ids=[])
    [answer] = together(short, prompts[:1])
    assert (answer.new_tokens, answer.stop_reason, answer.stopped) == (3, "positions", False)


def test_each_end_token_ends_an_answer(base: Base, prompts: list[list[int]]) -> None:
    first = [one.text for one in together(dataclasses.replace(base, end_ids=[]), prompts[:3])]
    ids = base.tokenizer(first[0], add_special_tokens=False)["input_ids"]
    more = dataclasses.replace(base, end_ids=[*base.end_ids, ids[2]])
    [answer] = together(more, prompts[:1])
    assert answer.stopped
    assert answer.new_tokens <= 3


@pytest.fixture
def small_memory(base: Base) -> Iterator[list[int]]:
    """Let the model fail like a full GPU above ten rows; yields the rows of the calls."""
    import torch

    rows: list[int] = []

    def refuse(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        rows.append(kwargs["input_ids"].shape[0])
        if rows[-1] > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = base.model.register_forward_pre_hook(refuse, with_kwargs=True)
    yield rows
    hook.remove()


@pytest.mark.slow
def test_out_of_memory_halves_the_rows_and_changes_no_answer(
    base: Base, prompts: list[list[int]], alone: list[tuple[str, int]], small_memory: list[int]
) -> None:
    done: dict[int, Generated] = {}
    notes = batched_generation.generate(base.model, base, prompts, Limits(TOKENS), done.__setitem__)
    assert plain([done[i] for i in range(len(prompts))]) == alone
    [rows] = re.findall(r"continuing with (\d+) prompts at a time", notes[-1])
    assert 5 <= int(rows) <= 10, "half of what did not fit"


def test_what_memory_made_an_evaluation_do_is_told(
    base: Base, prompts: list[list[int]], small_memory: list[int]
) -> None:
    subject = scoring.Subject(base.model, base, "base", load(*SMOKE).eval)
    notes: list[str] = []
    scoring.answer(subject, prompts[:20], "test", 4, notes)
    assert notes[-1].startswith("test: out of memory during generation")


@pytest.mark.slow
def test_out_of_memory_halves_the_batches_of_the_loss(base: Base, small_memory: list[int]) -> None:
    from experiments.evaluation.metrics import loss

    run = load(*SMOKE, "hardware=cpu", "data.train_rows=40")
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions).train
    with_little = loss.token_nll(base.model, rows)
    assert max(small_memory) > 10
    alone = [loss.token_nll(base.model, [row])[0] for row in rows]
    assert [nll for nll, _ in with_little] == pytest.approx([nll for nll, _ in alone], rel=1e-5)


@pytest.mark.slow
def test_an_interrupted_evaluation_asks_only_what_is_left(
    base: Base, prompts: list[list[int]], alone: list[tuple[str, int]], tmp_path: Path
) -> None:
    run = load(*SMOKE, "hardware=cpu", "eval.batch_size=8")
    subject = scoring.Subject(base.model, base, "base", run.eval, tmp_path)
    calls: list[int] = []

    def stop(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        calls.append(kwargs["input_ids"].shape[1])
        if len(calls) == 60:
            raise KeyboardInterrupt

    hook = base.model.register_forward_pre_hook(stop, with_kwargs=True)
    with pytest.raises(KeyboardInterrupt):
        scoring.answer(subject, prompts, "test", TOKENS)
    [file] = (tmp_path / "answers").iterdir()
    kept = len(file.read_text().splitlines()) - 1
    assert 0 < kept < len(prompts)
    with file.open("a") as half_a_line:
        half_a_line.write('{"index": 3, "te')
    calls.clear()
    hook.remove()
    read: list[int] = []
    hook = base.model.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(
            kwargs["input_ids"].shape[0] if kwargs["input_ids"].shape[1] > 1 else 0
        ),
        with_kwargs=True,
    )
    answers = scoring.answer(subject, prompts, "test", TOKENS)
    hook.remove()
    assert plain(answers) == alone
    assert sum(read) == len(prompts) - kept


def test_answers_of_other_weights_are_not_taken_over(
    base: Base, prompts: list[list[int]], tmp_path: Path
) -> None:
    from experiments.evaluation import progress_file

    limits = Limits(TOKENS)
    here = progress_file.key(base.model, base, prompts, limits)
    there = progress_file.key(base.model, dataclasses.replace(base, sha256="x"), prompts, limits)
    found = []
    for key in (here, here, there):
        file = progress_file.ProgressFile(tmp_path / "a.jsonl", key)
        found.append(len(file.saved_answers))
        file.add(0, Generated("x", 1, "end_token"))
        file.close()
    assert found == [0, 1, 0]


@pytest.mark.slow
def test_a_model_with_a_sliding_window_is_answered_in_one_batch_at_a_time(base: Base) -> None:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=base.model.config.vocab_size, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=16, max_position_embeddings=256,
    )  # fmt: skip
    sliding = dataclasses.replace(base, model=MistralForCausalLM(config).eval(), positions=256)
    words = random.Random(1)
    asked = [words.choices(range(20, 900), k=words.randint(5, 60)) for _ in range(40)]
    answers = together(sliding, asked)
    assert plain(answers) == [generated_alone(sliding, prompt, TOKENS) for prompt in asked]
