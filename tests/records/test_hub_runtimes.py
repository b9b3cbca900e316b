"""A runtime that ends loses nothing: checkpoints by the clock, a budget that is kept."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import FEW_ROWS, load
from experiments import models, records, runs
from experiments.config import EvalConfig
from experiments.errors import ConfigError, OutOfBudget
from experiments.evaluation import scoring
from experiments.records import Record
from experiments.runs import Job
from experiments.runtime import budget

QUICK = (*FEW_ROWS, "lora.lora_dropout=0.1")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(folder: Path, *overrides: str) -> Record:
    return runs.run_one(load(*QUICK, *overrides), Job(folder)).record


def checkpoints(record: Record) -> list[str]:
    return sorted(path.name for path in (record.folder / "checkpoints").glob("checkpoint-*"))


def spend_once(happened: Callable[[], bool]) -> None:
    """Let the budget of this process be over as soon as something has happened."""

    def watch() -> None:
        last = time.monotonic() + 120
        while not happened() and time.monotonic() < last:
            time.sleep(0.01)
        budget.spend()

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.slow
def test_a_checkpoint_is_saved_whenever_the_last_one_is_old_enough(tmp_path: Path) -> None:
    often = make(tmp_path / "often", "trainer.save_every_minutes=1e-6", "trainer.keep=all",
                 "trainer.save_steps=4", "trainer.logging_steps=3")  # fmt: skip
    assert checkpoints(often) == [f"checkpoint-{n}" for n in (1, 2, 3, 4)]
    seldom = make(tmp_path / "seldom", "trainer.save_steps=4", "trainer.logging_steps=3",
                  "trainer.keep=all", "rerun=true")  # fmt: skip
    assert checkpoints(seldom) == ["checkpoint-4"]
    assert often.run_id == seldom.run_id
    assert (often.scores, often.curve) == (seldom.scores, seldom.curve)


@pytest.mark.slow
def test_a_budget_that_is_spent_while_training_saves_and_resumes_as_if_nothing_had_been(
    tmp_path: Path,
) -> None:
    line = ("trainer.max_steps=12", "trainer.logging_steps=5", "trainer.save_every_minutes=1e-6",
            "trainer.eval_steps=6", "trainer.keep=all")  # fmt: skip
    stopped = tmp_path / "stopped"
    with budget.ending(time.time() + 3600), pytest.raises(OutOfBudget) as caught:
        spend_once((stopped / "checkpoints" / "checkpoint-2" / "trainer_state.json").exists)
        make(stopped, *line)
    step = caught.value.step
    assert step is not None and 2 <= step < 12
    assert str(caught.value) == (
        f"budget.hours is spent: training stopped with a checkpoint at step {step} of 12; rerun "
        "the same command to resume."
    )
    record = records.read(stopped / "run.json")
    assert (record.status, record.error) == (
        "interrupted",
        {"type": "OutOfBudget", "message": str(caught.value), "step": step},
    )
    calm = make(tmp_path / "other" / "calm", *line)
    resumed = make(stopped, *line)
    assert resumed.status == "finished"
    assert (resumed.scores, resumed.curve) == (calm.scores, calm.curve)
    one, other = (r.folder / "adapter" / "adapter_model.safetensors" for r in (resumed, calm))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_training_that_ended_is_scored_from_its_checkpoint_when_there_is_time_again(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a"
    with budget.ending(time.time() + 3600), pytest.raises(OutOfBudget) as caught:
        spend_once((folder / "checkpoints" / "checkpoint-4" / "trainer_state.json").exists)
        make(folder, "trainer.save_steps=4", "trainer.eval_steps=4")
    assert "answers of the tuned model on test, which are saved" in str(caught.value)
    assert records.read(folder / "run.json").status == "interrupted"
    resumed = make(folder, "trainer.save_steps=4", "trainer.eval_steps=4")
    assert (resumed.status, resumed.timing["train_seconds"]) == ("finished", 0.0)


def test_the_time_may_end_during_the_last_answer_but_not_before() -> None:
    run = load(*QUICK)
    base = models.load(run, models.choose_precision(run))
    subject = scoring.Subject(base.model, base, "base", EvalConfig(batch_size=1))
    base.model.register_forward_hook(lambda *_: budget.spend())
    with budget.ending(time.time() + 3600):
        assert len(scoring.answer(subject, [[5, 6, 7]], "test", 2)) == 1
    early = "stopped after 1 of 2 answers of the base model on test"
    with budget.ending(time.time() + 3600), pytest.raises(OutOfBudget, match=early):
        scoring.answer(subject, [[5, 6, 7], [8, 9, 10]], "test", 2)


@pytest.mark.slow
def test_nothing_begins_when_the_time_is_over_and_what_is_finished_is_still_an_answer(
    tmp_path: Path,
) -> None:
    done = make(tmp_path / "a")
    with budget.ending(time.time()):
        assert make(tmp_path / "b").scores == done.scores
        with pytest.raises(OutOfBudget, match=r"run [0-9a-f]{12} was not begun"):
            make(tmp_path / "b", "seed=5")
    assert not (tmp_path / "b" / "run.json").exists()


def test_a_budget_begins_with_the_process_of_a_single_run(tmp_path: Path) -> None:
    job = Job(tmp_path / "a", began=time.time() - 7200)
    with pytest.raises(OutOfBudget):
        runs.run_one(load(*QUICK, "budget.hours=1.5"), job)
    assert time.time() - budget.process_began() > 0
    assert budget.ends_at() is None


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("budget.hours=0", "budget.hours=0.0: must be above 0, for example 2.5, or null for no "
         "limit"),
        ("trainer.save_every_minutes=0", "trainer.save_every_minutes=0.0: must be above 0"),
        ("hub.push=true", "hub.push=true needs a repository: set hub.repo=owner/name"),
        ("hub.repo=name", "hub.repo=name: must have the form owner/name"),
        ("hub.checkpoints=true", "hub.checkpoints=true needs hub.push=true: set it, or remove "
         "hub.checkpoints"),
        ("resume_from=hf://name", "resume_from=hf://name: must be hf://owner/name or a "
         "folder"),
    ],
)  # fmt: skip
def test_values_without_a_meaning_are_refused(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)
    assert str(caught.value) == f"{sentence}."


def test_keys_that_only_say_how_to_execute_are_no_part_of_a_run() -> None:
    from experiments import config

    run_id = config.run_id(load())
    for override in ("budget.hours=1", "hub.repo=me/x", "resume_from=x",
                     "trainer.save_every_minutes=5"):  # fmt: skip
        assert config.run_id(load(override)) == run_id
