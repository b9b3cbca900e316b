"""Losses at stated steps are those of the final scores, and outlive an interruption."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import records, runs
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.runs import Job

STEPS = (
    *(*SMOKE, "eval.base=false", "hardware=cpu", "trainer.keep=all", "trainer.save_steps=1"),
    *("trainer.lr_scheduler_type=constant", "trainer.warmup_steps=0", "lora.lora_dropout=0.1"),
    *("eval.validation_steps=[1,3,4]", "eval.test_steps=[0.5,3,4]"),
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def make(folder: Path, *overrides: str) -> Record:
    return runs.run_one(load(*STEPS, *overrides), Job(folder, find_siblings=False)).record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make(tmp_path_factory.mktemp("runs") / "whole")


def answered(record: Record) -> list[dict[str, Any]]:
    return [i for i in records.items(record) if i["model"] == "tuned" and "text" in i]


def validations(record: Record) -> dict[float, float]:
    return {p["step"]: p["validation_nll"] for p in record.curve if "validation_nll" in p}


def test_losses_are_measured_at_the_stated_steps_and_at_no_other(whole: Record) -> None:
    assert list(validations(whole)) == [1, 3, 4]
    assert [point["step"] for point in whole.test_curve] == [2, 3, 4]
    read = records.read(whole.path)
    assert read.plan["validation_steps"] == [1, 3, 4]
    assert read.plan["test_steps"] == [2, 3, 4]
    assert read.test_curve == whole.test_curve


def test_the_last_step_has_the_final_scores(whole: Record) -> None:
    scores = whole.scores["tuned"]
    assert validations(whole)[4] == scores["validation/loss/nll"]
    *_, last = whole.test_curve
    losses = {key: value for key, value in scores.items() if key.startswith("loss/")}
    assert last == {"step": 4} | losses
    assert {"loss/nll", "loss/bits_per_byte", "loss/nll_prose"} <= losses.keys()


def test_the_losses_of_a_step_are_the_mean_of_its_rows(whole: Record) -> None:
    for point in whole.test_curve[:-1]:
        for key in ("loss/nll", "loss/nll_prose"):
            rows = [item["step_parts"][str(point["step"])] for item in answered(whole)]
            parts = [row[key] for row in rows if key in row]
            mean = sum(total for total, _ in parts) / sum(weight for _, weight in parts)
            assert mean == pytest.approx(point[key], rel=1e-12)
    weights = [item["parts"]["loss/nll"][1] for item in answered(whole)]
    assert weights == [item["step_parts"]["2"]["loss/nll"][1] for item in answered(whole)]


@pytest.mark.slow
def test_a_run_without_answers_has_the_same_losses_at_the_same_steps(
    whole: Record, tmp_path: Path
) -> None:
    record = make(tmp_path / "losses", "eval.metrics=[]")
    assert record.test_curve == whole.test_curve
    rows = [item for item in records.items(record) if item["split"] == "test"]
    parts = [(item["id"], item["parts"], item["step_parts"]) for item in answered(whole)]
    assert [(item["id"], item["parts"], item["step_parts"]) for item in rows] == parts


@pytest.mark.slow
def test_the_losses_of_a_step_are_the_scores_of_its_checkpoint(
    whole: Record, tmp_path: Path
) -> None:
    adapter = f"model.adapter={whole.folder / 'checkpoints' / 'checkpoint-2'}"
    again = ("trainer.max_steps=0", "eval.validation_steps=null", "eval.test_steps=null", adapter)
    scores = make(tmp_path / "again", *again).scores["tuned"]
    expected = {key: value for key, value in scores.items() if key.startswith("loss/")}
    assert whole.test_curve[0] == {"step": 2} | expected


@pytest.mark.slow
def test_measuring_changes_nothing_in_the_training(whole: Record, tmp_path: Path) -> None:
    none = ("eval.validation_steps=null", "eval.test_steps=null")
    plain = make(tmp_path / "plain", *none)
    assert plain.scores == whole.scores
    assert plain.test_curve == []
    keys = ("step", "loss", "grad_norm")
    assert [[p.get(key) for key in keys] for p in plain.curve if "loss" in p] == [
        [p.get(key) for key in keys] for p in whole.curve if "loss" in p
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_an_interrupted_run_has_the_losses_of_an_uninterrupted_one(
    whole: Record, tmp_path: Path, kept: int
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(whole.folder, folder)
    for step in range(kept + 1, 5):
        shutil.rmtree(folder / "checkpoints" / f"checkpoint-{step}")
    shutil.rmtree(folder / "adapter")
    record = records.read(folder / "run.json")
    record.status, record.test_curve = "interrupted", []
    records.write(record)
    resumed = make(folder)
    assert resumed.folder == folder and resumed.provenance["processes"] == 1
    assert resumed.test_curve == whole.test_curve
    assert resumed.curve == whole.curve
    assert answered(resumed) == answered(whole)


@pytest.mark.slow
def test_packed_rows_give_the_same_steps(whole: Record, tmp_path: Path) -> None:
    packed = make(tmp_path / "packed", "trainer.packing=true", "lora.lora_dropout=0")
    padded = make(tmp_path / "padded", "lora.lora_dropout=0")
    for mine, theirs in zip(packed.test_curve, padded.test_curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


@pytest.mark.slow
def test_the_weights_of_the_last_step_are_measured_if_others_are_selected(tmp_path: Path) -> None:
    selected = ("trainer.select=best_validation", "eval.validation_steps=null")
    few = ("trainer.max_steps=2", "trainer.eval_steps=1", "eval.test_steps=[1,2]")
    record = make(tmp_path / "best", "model=tiny", *selected, *few, "trainer.learning_rate=0.3")
    assert record.plan["selected_step"] == 1
    first, last = record.test_curve
    assert first["loss/nll"] == record.scores["tuned"]["loss/nll"] != last["loss/nll"]
    assert all(item["step_parts"].keys() == {"1", "2"} for item in answered(record))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["eval.test_steps=[3,5]"], "eval.test_steps names 5, but the run ends at step 4"),
        (["eval.validation_steps=[9]"], "eval.validation_steps names 9"),
        (["eval.test_steps=[2.5]"], "2.5 must be a whole number of steps"),
        (["eval.test_steps=[0]"], "0 must be a whole number of steps"),
        (["eval.test_steps=[]"], "name at least one step"),
        (
            ["trainer.max_steps=null", "trainer.num_train_epochs=1", "eval.test_steps=[8]"],
            "the run ends at step 7",  # 27 rows in batches of 4
        ),
        (
            ["trainer.max_steps=0", "model.adapter=here", "eval.validation_steps=null"],
            "nothing is trained",
        ),
        (["trainer.select=best_validation"], "eval.validation_steps with trainer.select"),
    ],
)
def test_steps_that_the_run_does_not_have_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        load(*STEPS, *overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.validation_rows=0"], "eval.validation_steps needs validation rows"),
        (["data.test_rows=0", "eval.validation_steps=null"], "eval.test_steps needs test rows"),
    ],
)
def test_steps_without_rows_to_measure_are_refused(
    overrides: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        make(tmp_path / "none", *overrides)
