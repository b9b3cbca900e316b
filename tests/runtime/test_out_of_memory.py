"""Where memory runs out in training, the run goes on in smaller passes and comes out the same.

A hook on the model raises what a full GPU raises, in a chosen forward or backward pass.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMOKE, load
from experiments import data, models, records, runs, training
from experiments.errors import TrainingError
from experiments.models import adapters
from experiments.runs import Job
from experiments.training.micro_batches import MicroBatches, pieces

# Six steps of 4 rows in two passes, with a validation loss and a checkpoint every second step.
STEPS = (
    *("trainer.max_steps=6", "trainer.batch_size=4", "trainer.micro_batch_size=2"),
    *("trainer.logging_steps=1", "trainer.eval_steps=2", "trainer.keep=all"),
    *("trainer.learning_rate=1e-3", "hardware=cpu"),
)
When = Callable[[int, int], bool]
"""(number of the pass from 1, its rows) -> whether memory runs out in it."""


class Memory:
    """Fails as a full GPU does; the passes of training are counted, those of evaluation not."""

    def __init__(self, model: Any, *, forward: When | None = None, backward: When | None = None):
        self.rows: list[int] = []
        self.forward, self.backward = forward, backward
        model.register_forward_pre_hook(self._begin, with_kwargs=True)
        layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
        layers[-1].register_forward_hook(self._watch)

    def _begin(self, model: Any, _: Any, kwargs: dict[str, Any]) -> None:
        if model.training:
            self.rows.append(len(kwargs["input_ids"]))
            self._fail(self.forward)

    def _watch(self, layer: Any, _: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if layer.training and hidden.requires_grad:
            hidden.register_hook(lambda _: self._fail(self.backward))

    def _fail(self, when: When | None) -> None:
        if when is not None and when(len(self.rows), self.rows[-1]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def fit(
    folder: Path, *overrides: str, forward: When | None = None, backward: When | None = None
) -> tuple[training.Fit, training.Task, list[int]]:
    run = load(*SMOKE, *STEPS, *overrides)
    base = models.load(run, models.choose_precision(run))
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    model = adapters.attach(run, base.model).model
    task = training.Task(
        run, model, base, rows, folder, report=lambda *_: False, log=lambda *_: None
    )
    memory = Memory(model, forward=forward, backward=backward)
    return training.fit(task), task, memory.rows


def weights(task: training.Task) -> dict[str, torch.Tensor]:
    return {n: p.detach() for n, p in task.model.named_parameters() if p.requires_grad}


Made = tuple[training.Fit, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made, task, rows = fit(tmp_path_factory.mktemp("undisturbed"))
    assert rows == [2] * 12
    assert task.oom_events == []
    return made, weights(task)


def same(made: training.Fit, task: training.Task, undisturbed: Made) -> None:
    """Compare each step's losses and the final weights."""
    wanted, final = undisturbed
    assert len(made.curve) == len(wanted.curve) == 6
    for mine, theirs in zip(made.curve, wanted.curve, strict=True):
        # Sums of a few hundred fp32 terms in another order, and AdamW's first steps on them.
        assert mine == pytest.approx(theirs, rel=1e-4)
    for name, found in weights(task).items():
        # AdamW moves a weight by up to the rate a step, whatever the size of its gradient.
        torch.testing.assert_close(found, final[name], rtol=1e-3, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "at"),  # passes 5 and 6 are the first and the second of step 3
    [
        ("backward", 6),
        *(
            pytest.param(phase, at, marks=pytest.mark.slow)
            for phase, at in [("backward", 1), ("backward", 5), ("forward", 1), ("forward", 6)]
        ),
    ],
)
def test_a_step_that_did_not_fit_is_made_again_in_halves(
    tmp_path: Path, undisturbed: Made, phase: str, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    made, task, rows = fit(tmp_path, **{phase: lambda number, _: number == at})
    same(made, task, undisturbed)
    step = (at + 1) // 2
    assert task.oom_events == [{"step": step, "micro_batch_size": 1, "before": 2}]
    assert rows == [2] * at + [1] * 4 * (7 - step)
    said = capsys.readouterr().out
    assert f"out of memory at step {step} with 2 rows per pass" in said
    assert "set trainer.micro_batch_size=1 to start like this" in said


@pytest.mark.slow
def test_memory_may_run_out_twice(tmp_path: Path, undisturbed: Made) -> None:
    made, task, rows = fit(
        tmp_path,
        "trainer.micro_batch_size=4",
        forward=lambda number, rows: number == 2 and rows == 4,
        backward=lambda number, rows: number > 5 and rows == 2,
    )
    same(made, task, undisturbed)
    assert [entry["micro_batch_size"] for entry in task.oom_events] == [2, 1]
    assert [entry["before"] for entry in task.oom_events] == [4, 2]
    assert rows[:4] == [4, 4, 2, 2] and rows[-1] == 1


@pytest.mark.slow
def test_full_fine_tuning_and_a_trained_head_go_on_too(tmp_path: Path) -> None:
    lines = ("lora=none", "trainer.learning_rate=1e-4")
    wanted, before, _ = fit(tmp_path / "one", *lines)
    made, task, _ = fit(tmp_path / "other", *lines, backward=lambda number, _: number == 4)
    assert len(task.oom_events) == 1
    same(made, task, (wanted, weights(before)))


@pytest.mark.slow
def test_the_random_state_is_that_of_the_begin_of_the_step(tmp_path: Path) -> None:
    """With one row a pass before and after, dropout draws what it would have drawn."""
    lines = ("lora.lora_dropout=0.3", "trainer.micro_batch_size=2")

    def tried(at: int) -> list[float]:
        made, _, _ = fit(tmp_path / str(at), *lines, forward=lambda number, _: number == at)
        return [point["loss"] for point in made.curve]

    # The first and the second pass of step 2: its loss is a sum and a difference of fp32 numbers.
    assert tried(3) == pytest.approx(tried(4), rel=1e-5)


def test_one_row_too_many_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        fit(tmp_path, forward=lambda number, _: number > 4)
    assert caught.value.step == 3
    text = str(caught.value)
    assert text.startswith("out of memory at step 3 with 1 row of up to ")
    assert text.endswith(
        " tokens per pass: lower trainer.max_length, set "
        "trainer.gradient_checkpointing=true or use a 4-bit base model."
    )


@pytest.mark.slow
def test_a_resumed_run_keeps_the_smaller_passes(
    tmp_path: Path, undisturbed: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, forward=lambda number, _: number == 3)
    for late in ("checkpoint-6",):
        shutil.rmtree(tmp_path / training.CHECKPOINTS / late)
    capsys.readouterr()
    made, task, rows = fit(tmp_path)
    assert "1 rows per pass, as before the interruption" in capsys.readouterr().out
    assert rows == [1] * 8
    assert task.oom_events == [{"step": 2, "micro_batch_size": 1, "before": 2}]
    same(made, task, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["loss_type=dft", "label_smoothing_factor=0.1"])
def test_another_loss_of_trl_is_used_where_it_is_asked_for(
    tmp_path: Path, undisturbed: Made, extra: str
) -> None:
    made, task, _ = fit(tmp_path, f"+trainer.extra.{extra}", backward=lambda number, _: number == 4)
    assert len(task.oom_events) == 1
    assert made.curve[0]["loss"] != pytest.approx(undisturbed[0].curve[0]["loss"], rel=1e-2)


@pytest.mark.slow
def test_an_error_that_is_not_about_memory_is_raised(tmp_path: Path) -> None:
    def broken(number: int, _: int) -> bool:
        if number == 3:
            raise RuntimeError("a kernel is missing")
        return False

    with pytest.raises(RuntimeError, match="a kernel is missing"):
        fit(tmp_path, forward=broken)


@pytest.mark.slow
def test_the_record_says_where_memory_ran_out(tmp_path: Path) -> None:
    run = load(*SMOKE, *STEPS, "trainer.keep=none", "eval.base=false")
    seen: list[int] = []

    def full(_: Any, given: tuple[Any, ...], __: Any) -> None:
        seen.append(len(given[0]))
        if torch.is_grad_enabled() and seen[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, output: (
            full(module, given, output) if type(module).__name__ == "Embedding" else None
        )
    )
    try:
        record = runs.run_one(run, Job(tmp_path / "a")).record
    finally:
        hook.remove()
    told = records.read(tmp_path / "a" / "run.json").plan["out_of_memory"]
    assert record.plan["out_of_memory"] == told
    assert told == [{"step": 1, "micro_batch_size": 1, "before": 2}]


def test_a_batch_is_cut_into_pieces_as_wide_as_their_longest_row() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    batch = {"input_ids": 7 * mask, "labels": -100 * mask, "attention_mask": mask}
    shapes = [tuple(piece["labels"].shape) for piece in pieces(batch, 1)]
    assert shapes == [(1, 4), (1, 2), (1, 1)]
    assert [piece is batch for piece in pieces(batch, 3)] == [True]


def test_packed_rows_are_cut_where_positions_begin_again() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 0, 1, 0, 1, 2]])
    packed = {"input_ids": torch.arange(9)[None], "labels": positions, "position_ids": positions}
    cut = [piece["input_ids"][0].tolist() for piece in pieces(packed, 2)]
    assert cut == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    [whole] = pieces(packed, 4)
    assert all(torch.equal(whole[name], packed[name]) for name in packed)


def test_what_cannot_be_cut_by_rows_is_not_cut() -> None:
    passes = MicroBatches(4, "make room", [])
    passes.begin([{"input_ids": torch.ones(4, 9), "images": torch.ones(2, 9)}])

    def full(_: Any) -> Any:
        raise MemoryError

    with pytest.raises(TrainingError, match=r"with 4 rows of up to 9 tokens per pass: make room\."):
        passes.next(full, lambda: None, 1)


@pytest.mark.slow
def test_packed_rows_that_did_not_fit_are_made_again_in_halves(
    tmp_path: Path, undisturbed: Made
) -> None:
    made, task, _ = fit(tmp_path, "trainer.packing=true", backward=lambda number, _: number == 6)
    same(made, task, undisturbed)
    assert task.oom_events == [{"step": 3, "micro_batch_size": 1, "before": 2}]


@pytest.mark.parametrize(("rows", "halved"), [(8, 4), (6, 3), (3, 1), (10, 5), (9, 3)])
def test_the_smaller_number_of_rows_is_one_that_can_be_set(rows: int, halved: int) -> None:
    ones = torch.ones(rows, 5, dtype=torch.long)
    passes = MicroBatches(rows, "make room", [])
    passes.begin([{"input_ids": ones, "labels": ones, "attention_mask": ones}])

    def make(batch: dict[str, Any]) -> int:
        if len(batch["labels"]) == rows:
            raise MemoryError
        return len(batch["labels"])

    assert passes.next(make, lambda: None, 1) == rows
    assert passes.oom_events == [{"step": 1, "micro_batch_size": halved, "before": rows}]
