"""A base in 4 bits differs from the plain one in its weights only, from loading to merging."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMOKE, Cli, load
from experiments import models, records, runs, training
from experiments.errors import ConfigError
from experiments.models import Base, adapters
from experiments.runs import Job, model_cache

FOUR_BITS = ("model=tiny_4bit", "hardware=cpu")
IDS = torch.arange(10, 40)[None]


def base_for(*overrides: str) -> Base:
    run = load(*overrides)
    return models.load(run, models.choose_precision(run))


def trained(model: Any) -> dict[str, Any]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def gradients(model: Any) -> dict[str, Any]:
    model.train()
    model(input_ids=IDS, labels=IDS).loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_4_bit_base_is_made_of_the_same_files_and_differs_in_its_linear_layers(
    precision: str,
) -> None:
    given = (*FOUR_BITS, f"trainer.precision={precision}")
    four, plain = base_for(*given), base_for(*given, "model.quantization=null")
    assert four.sha256 != plain.sha256
    assert four.parameters == plain.parameters
    theirs = dict(plain.model.named_parameters())
    packed = {n: p for n, p in four.model.named_parameters() if p.dtype == torch.uint8}
    assert {n.rpartition(".")[0] for n in packed} == {
        n for n, m in plain.model.named_modules()
        if isinstance(m, torch.nn.Linear) and n != "lm_head"
    }  # fmt: skip
    for name, parameter in four.model.named_parameters():
        if name not in packed:
            assert torch.equal(parameter, theirs[name]), name
    layer = four.model.model.layers[0].mlp.gate_proj
    assert layer.compute_dtype == getattr(torch, {"fp32": "float32", "bf16": "bfloat16"}[precision])
    state = layer.weight.quant_state
    assert (state.quant_type, state.blocksize, state.nested) == ("nf4", 64, True)


def test_a_model_that_was_asked_first_trains_with_the_same_gradients() -> None:
    run = load(*FOUR_BITS)
    fresh, asked = (adapters.attach(run, base_for(*FOUR_BITS).model).model for _ in range(2))
    with torch.no_grad():
        asked.eval()(input_ids=IDS)
    wanted, found = gradients(fresh), gradients(asked)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["all_linear", "dora"])
def test_adapters_begin_and_train_in_fp32_like_those_of_a_plain_base(
    tmp_path: Path, option: str
) -> None:
    run = load(*SMOKE, *FOUR_BITS, f"lora={option}")
    base, rows = model_cache.load(run, models.choose_precision(run), keep=False)
    model = adapters.attach(run, base.model).model
    before = trained(model)
    plain = load(*SMOKE, "hardware=cpu", f"lora={option}")
    same = trained(adapters.attach(plain, base_for("hardware=cpu").model).model)
    # DoRA's magnitudes are the lengths of the base's own columns.
    for name in [n for n in same if "magnitude" not in n]:
        assert torch.equal(before[name], same[name]), name
    task = training.Task(run, model, base, rows, tmp_path, lambda *_: False, lambda *_: None)
    steps = training.plan(run.trainer, len(rows.train))
    training.sft_trainer.build(task, steps, steps.micro_batch_size)
    after = trained(model)
    assert {p.dtype for p in after.values()} == {torch.float32}
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_runs_of_one_process_share_the_packed_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model_cache.forget()
    few = (*SMOKE, *FOUR_BITS, "eval.base=false", "eval.limit=2", "trainer.max_steps=2")
    first, again = (
        runs.run_one(load(*few, f"seed={seed}"), Job(tmp_path / "s" / str(n), number=n)).record
        for n, seed in enumerate((0, 1))
    )
    assert "they are loaded again" not in capsys.readouterr().out
    one, other = (
        model_cache.load(load(*few), models.choose_precision(load(*few)), keep=True)[0].model
        for _ in range(2)
    )
    gates = [model.model.layers[0].mlp.gate_proj for model in (one, other)]
    assert gates[0] is not gates[1]
    assert gates[0].weight is gates[1].weight and gates[0].quant_state is gates[1].quant_state
    model_cache.forget()
    alone = runs.run_one(load(*few, "seed=1"), Job(tmp_path / "alone" / "0")).record
    assert (again.scores, again.curve) == (alone.scores, alone.curve)
    assert first.identity == alone.identity
    assert alone.identity["quantization"] == alone.hardware["quantization"] == "nf4"
    assert alone.model["parameters"] == 1_049_984


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["lora=none"],
            "model.quantization=nf4 with lora=none: 4-bit weights cannot be trained; use an "
            "adapter such as lora=all_linear, or model.quantization=null.",
        ),
        (
            ["lora.init_lora_weights=pissa"],
            "lora.init_lora_weights=pissa with model.quantization=nf4: it moves the principal "
            "directions of the weights into the adapter; use "
            "lora.init_lora_weights=default or gaussian, or model.quantization=null.",
        ),
        (
            ["lora.init_lora_weights=olora"],
            "lora.init_lora_weights=olora with model.quantization=nf4: it moves the prin",
        ),
        (
            ["lora.init_lora_weights=orthogonal"],
            "it creates the adapter in the dtype of the weights",
        ),
        (["model.quantization=int8"], "model.quantization=int8: Allowed: nf4."),
    ],
)
def test_what_4_bits_cannot_do_is_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*FOUR_BITS, *overrides)
    assert sentence in str(caught.value)


def test_a_4_bit_base_may_be_scored_without_an_adapter() -> None:
    assert load(*FOUR_BITS, "lora=none", "trainer.max_steps=0").model.quantization == "nf4"


@pytest.mark.slow
def test_a_4_bit_file_keeps_everything_else_of_the_plain_one() -> None:
    for name in ("tiny", "qwen3_0_6b", "qwen3_1_7b"):
        four, plain = load(f"model={name}_4bit").model, load(f"model={name}").model
        own = dataclasses.replace(four, label=plain.label, quantization=None)
        assert own == plain


def loss_curve(record: records.Record) -> list[Any]:
    return [(p["step"], p.get("loss"), p.get("validation_nll")) for p in record.curve]


@pytest.mark.slow
def test_a_whole_qlora_run_is_interrupted_resumed_asked_merged_and_loaded_by_peft(
    tmp_path: Path, cli: Cli
) -> None:
    import peft
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from support.long_runs import start as start_long
    from support.long_runs import stop_at_step

    few = ("data.validation_rows=4", "data.test_rows=4", "eval.limit=4", "eval.loss_rows=4")
    given = (*FOUR_BITS, *few, "trainer.keep=adapter", "trainer.optimizer=adamw_8bit")
    folder = tmp_path / "run"
    process = start_long(folder, *given)
    stop_at_step(process, 5, signal.SIGINT)
    assert records.read(folder / "run.json").status == "interrupted"
    out, _ = start_long(folder, *given).communicate(timeout=240)
    assert "continuing from checkpoint-" in out
    resumed = records.read(folder / "run.json")
    calm, _ = start_long(tmp_path / "calm", *given).communicate(timeout=240)
    undisturbed = records.read(tmp_path / "calm" / "run.json")
    assert loss_curve(resumed) == loss_curve(undisturbed)
    assert resumed.scores == undisturbed.scores
    assert resumed.scores["tuned"]["loss/nll"] < resumed.scores["base"]["loss/nll"]
    assert "quantization = nf4  (model.quantization: 4-bit NormalFloat" in calm
    assert "in nf4 (4 bits)" in (folder / "adapter" / "README.md").read_text()

    asked = cli("generate", "run", "--prompt", "Hello", "--max-new-tokens", "5", module=True)
    assert asked.returncode == 0 and asked.stdout, asked.stderr
    merged = cli("merge", "run", "--out", "merged", module=True)
    assert merged.returncode == 0, merged.stderr
    assert "merged into the base's full-precision weights" in merged.stdout
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())

    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        models.BASES / "tiny", dtype=torch.float32, quantization_config=four_bits
    )
    ours, _ = runs.load_run(folder)
    for module in theirs.modules():  # the same kernel, not the packed one of some CPUs
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    loaded = peft.PeftModel.from_pretrained(theirs, folder / "adapter").eval()
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=IDS).logits, ours.model.eval()(input_ids=IDS).logits)
