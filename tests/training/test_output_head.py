"""An adapter on the output head is trained and kept, and frozen embeddings stay as they were."""

from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMOKE, load
from experiments import data, models, records, runs, training
from experiments.models import adapters
from experiments.runs import Job

FEW = ("data.train_rows=9", "data.validation_rows=4", "trainer.lr_scheduler_type=constant")
HEAD = "lora=all_linear_and_head"


def task(folder: Path, *overrides: str, last_step: int | None = None) -> training.Task:
    """Return a training that is stopped after `last_step`, as an interruption would stop it."""
    run = load(*SMOKE, "hardware=cpu", *FEW, *overrides)
    base = models.load(run, models.choose_precision(run))
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    model = adapters.attach(run, base.model).model
    return training.Task(
        run, model, base, rows, folder, lambda step, *_: step == last_step, lambda *_: None
    )


def weights(model: Any) -> dict[str, Any]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def trained(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.slow
def test_a_resumed_training_with_an_adapter_on_the_head_takes_the_same_steps(
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file

    three = (HEAD, "trainer.max_steps=3", "trainer.eval_steps=1")
    whole = task(tmp_path / "whole", *three)
    before = weights(whole.model)
    fit = training.fit(whole)
    after = weights(whole.model)
    assert any("lm_head.lora_B" in name for name in trained(whole.model))
    for name in before:  # also B of the head, which is zero at the start
        assert torch.equal(before[name], after[name]) != (name in trained(whole.model)), name

    training.fit(task(tmp_path / "cut", *three, last_step=2))
    saved = tmp_path / "cut" / "checkpoints" / "checkpoint-2" / "adapter_model.safetensors"
    assert all(".lora_" in name for name in load_file(saved))  # no second copy of the embedding
    resumed = task(tmp_path / "cut", *three)
    assert training.fit(resumed).curve == fit.curve
    for name, values in weights(resumed.model).items():
        assert torch.equal(values, after[name]), name


@pytest.mark.slow
def test_packed_rows_train_an_adapter_on_the_head_as_padded_ones_do(tmp_path: Path) -> None:
    padded = training.fit(task(tmp_path / "padded", HEAD, "trainer.max_steps=2"))
    packed = training.fit(
        task(tmp_path / "packed", HEAD, "trainer.max_steps=2", "trainer.packing=true")
    )
    for mine, theirs in zip(packed.curve, padded.curve, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


def test_frozen_embeddings_are_the_same_after_full_fine_tuning(tmp_path: Path) -> None:
    full = task(tmp_path, "lora=none", "trainer.freeze_embeddings=true", "trainer.max_steps=2")
    before = weights(full.model)
    training.fit(full)
    changed = {n for n, values in weights(full.model).items() if not torch.equal(values, before[n])}
    assert changed == before.keys() - {"model.embed_tokens.weight"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "share"),
    [((HEAD, "lora.r=2"), None), (("lora=none", "trainer.freeze_embeddings=true"), 1.0)],
)
def test_a_run_records_what_it_trains_and_its_saved_model_has_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], share: float | None
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("eval.base=false", "eval.limit=2", "hardware=cpu", "trainer.keep=adapter")
    record = runs.run_one(load(*SMOKE, *few, *overrides), Job(tmp_path / "a")).record
    adapter = record.adapter
    assert (
        adapter["trainable_share"] == adapter["trainable_parameters"] / record.model["parameters"]
    )
    if share is None:
        assert adapter["modules"]["lm_head"] == 1
        assert 0 < adapter["linear_share"] < 1
    else:
        assert adapter["linear_share"] == share
    base, _ = runs.load_run(record.folder)
    rows = [item for item in records.items(record) if item["model"] == "tuned" and "text" in item]
    assert rows
    assert base.model is not None
    if adapter["modules"]:
        given = f"model.adapter={record.folder / 'adapter'}"
        again = runs.run_one(
            load(*SMOKE, *few, "trainer.max_steps=0", given), Job(tmp_path / "b")
        ).record
        assert again.scores["tuned"] == record.scores["tuned"]
        assert record.curve[-1]["validation_nll"] == record.scores["tuned"]["validation/loss/nll"]
