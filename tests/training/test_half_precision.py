"""In half precision what is trained is fp32, overflow costs a step and no more, scores agree."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMOKE, load
from experiments import data, models, runs, training
from experiments.errors import ConfigError
from experiments.models import adapters
from experiments.runs import Job

# A CPU takes half a second for a row in fp16.
FEW = ("data.train_rows=9", "trainer.batch_size=2", "trainer.micro_batch_size=1")
SHORT = (
    *FEW,
    "data.validation_rows=0",
    "trainer.lr_scheduler_type=constant",
    "trainer.warmup_steps=0",
)


def task(folder: Path, precision: str, *overrides: str) -> training.Task:
    """Return a training in a precision that a CPU computes in, although no run may ask for it."""
    run = load(*SMOKE, "model=tiny", "hardware=cpu", *overrides)
    wanted = dataclasses.replace(models.choose_precision(run), name=precision)
    base = models.load(run, wanted)
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    model = adapters.attach(run, base.model).model
    shown: list[Any] = []
    return training.Task(
        run, model, base, rows, folder, lambda *_: False, lambda *point: shown.append(point)
    )


def trained(model: Any) -> dict[str, Any]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give the trainer the gradient scaler that accelerate makes on a GPU only."""
    built = training.sft_trainer.build

    def scale(first: float) -> None:
        def build(*args: Any) -> Any:
            trainer = built(*args)
            if not trainer.args.fp16:
                return trainer
            trainer.accelerator.scaler = torch.amp.GradScaler(
                "cpu", init_scale=first, backoff_factor=2.0**-30
            )
            trainer.accelerator.native_amp = True
            return trainer

        monkeypatch.setattr("experiments.training.sft.build", build)

    return scale


@pytest.mark.slow
@pytest.mark.parametrize("option", ["all_linear", "all_linear_and_head", "dora", "none"])
def test_fp16_steps_unscale_the_gradients_of_fp32_weights(
    tmp_path: Path, scaler: Callable[[float], None], option: str
) -> None:
    scaler(2.0**10)
    few = (*SHORT, "trainer.max_steps=2", f"lora={option}")
    half, whole = (task(tmp_path / p, p, *few) for p in ("fp16", "fp32"))
    before = trained(half.model)
    assert {p.dtype for p in before.values()} == {torch.float32}
    if option != "none":
        assert {p.dtype for p in half.model.parameters() if not p.requires_grad} == {torch.float16}
    made = training.fit(half)
    after = trained(half.model)
    assert {p.dtype for p in after.values()} == {torch.float32}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert made.skipped_steps == []
    exact = training.fit(whole)
    for mine, theirs in zip(made.curve, exact.curve, strict=True):
        # fp16 has 11 bits: a loss or norm of these few layers agrees to a few per cent.
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.03)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=0.05)


@pytest.mark.slow
def test_a_step_that_overflows_changes_nothing_and_is_named(
    tmp_path: Path, scaler: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    scaler(2.0**40)
    first = task(tmp_path / "cut", "fp16", *SHORT, "trainer.max_steps=1")
    before = trained(first.model)
    assert training.fit(first).skipped_steps == [1]
    assert all(torch.equal(before[n], p) for n, p in trained(first.model).items())
    assert "step    1 skipped: its gradients overflowed in fp16" in capsys.readouterr().out
    undisturbed = task(tmp_path / "calm", "fp16", *SHORT, "trainer.max_steps=2")
    assert training.fit(undisturbed).skipped_steps == [1]
    wanted = trained(undisturbed.model)
    assert any(not torch.equal(before[n], p) for n, p in wanted.items())
    # The checkpoint holds the lowered scale and what was left out.
    resumed = task(tmp_path / "cut", "fp16", *SHORT, "trainer.max_steps=2")
    assert training.fit(resumed).skipped_steps == [1]
    assert all(torch.equal(wanted[n], p) for n, p in trained(resumed.model).items())


@pytest.mark.slow
@pytest.mark.parametrize("modules", ["lm_head", "embed_tokens,norm"])
def test_modules_that_are_trained_whole_are_fp32_between_halves(
    tmp_path: Path, modules: str
) -> None:
    given = f"+lora.extra={{modules_to_save: [{modules}], ensure_weight_tying: true}}"
    half = task(tmp_path, "bf16", *FEW, given)
    assert {p.dtype for p in trained(half.model).values()} == {torch.float32}
    assert training.fit(half).curve[-1]["validation_nll"] < 2


def test_a_model_that_overflows_in_fp16_is_refused_before_it_is_scored(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(models.BASES / "tiny", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors = {n: t * 200 if n.endswith(("up_proj.weight", "down_proj.weight")) else t
               for n, t in tensors.items()}  # fmt: skip
    save_file(tensors, file, metadata={"format": "pt"})
    run = load("hardware=cpu", "model=local", f"model.path={tmp_path}/model")
    precision = models.choose_precision(run)
    models.load(run, precision)
    with pytest.raises(ConfigError, match="overflows in fp16: its activations exceed 65,504"):
        models.load(run, dataclasses.replace(precision, name="fp16"))


@pytest.mark.slow
def test_a_model_trained_in_bf16_has_the_scores_of_its_loaded_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("eval.base=false", "eval.limit=2", "hardware=cpu", "trainer.keep=adapter")
    half = (*SMOKE, "model=tiny", *few, "trainer.precision=bf16")
    made = runs.run_one(load(*half), Job(tmp_path / "a")).record
    adapter = f"model.adapter={made.folder / 'adapter'}"
    loaded = runs.run_one(load(*half, "trainer.max_steps=0", adapter), Job(tmp_path / "b")).record
    assert loaded.scores["tuned"] == made.scores["tuned"]
    assert made.curve[-1]["validation_nll"] == made.scores["tuned"]["validation/loss/nll"]
    assert made.plan["skipped_steps"] == []
    assert made.hardware["name"] == "bf16"
    assert made.hardware["attention"] == made.identity["attention"] == "sdpa"
    assert made.hardware["gradient_checkpointing"] is False
    assert made.hardware["reasons"]["attention"]
