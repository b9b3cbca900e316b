"""Every target name matches or is refused, and what is saved is what vanilla PEFT loads."""

from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import load
from experiments import models
from experiments.config import RunConfig
from experiments.errors import AdapterError, ConfigError
from experiments.models import Base, adapters


def base_for(run: RunConfig) -> Base:
    return models.load(run, models.choose_precision(run))


def attach(*overrides: str) -> tuple[RunConfig, adapters.Attached]:
    run = load("hardware=cpu", *overrides)
    return run, adapters.attach(run, base_for(run).model)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("qv", {"q_proj", "v_proj"}),
        ("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("mlp", {"gate_proj", "up_proj", "down_proj"}),
        (
            "all_linear",
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        ),
    ],
)
def test_each_group_adapts_its_modules_in_every_layer(option: str, names: set[str]) -> None:
    _, attached = attach(f"lora={option}")
    layers = attached.model.config.num_hidden_layers
    assert attached.modules == dict.fromkeys(sorted(names), layers)


def test_trainable_parameters_are_counted_by_hand() -> None:
    run, attached = attach("lora=qv", "lora.r=3")
    linear = [m for n, m in base_for(run).model.named_modules() if n.endswith(("q_proj", "v_proj"))]
    by_hand = sum(3 * (m.in_features + m.out_features) for m in linear)
    assert attached.trainable_parameters == by_hand


def test_full_fine_tuning_trains_everything_and_adds_nothing() -> None:
    run, attached = attach("lora=none")
    assert attached.trainable_parameters == base_for(run).parameters
    assert attached.modules == {}


def test_a_target_that_matches_nothing_beside_one_that_does_is_refused() -> None:
    with pytest.raises(AdapterError) as caught:
        attach("lora.target_modules=[q_proj,v_prj]")
    assert "'v_prj' matches no linear layer" in str(caught.value)
    assert "did you mean 'v_proj'?" in str(caught.value)


def test_an_adapter_on_the_output_layer_is_refused_and_a_trained_copy_is_not() -> None:
    tied = "+lora.extra.ensure_weight_tying=true"  # the embedded base's head is its embedding
    with pytest.raises(AdapterError) as caught:
        attach("lora.target_modules=[q_proj,lm_head]", tied)
    assert str(caught.value).endswith(
        "remove it, or train a copy of the whole layer with lora.extra.modules_to_save=[lm_head]."
    )
    _, attached = attach("lora=qv", "+lora.extra.modules_to_save=[lm_head]", tied)
    assert any("modules_to_save" in n for n, p in attached.model.named_parameters())


def test_b_is_zero_at_the_start_and_a_follows_the_seed() -> None:
    def matrices(seed: int) -> dict[str, Any]:
        _, attached = attach(f"seed={seed}")
        return {n: p.detach().clone() for n, p in attached.model.named_parameters() if "lora_" in n}

    first, again, other = matrices(0), matrices(0), matrices(1)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    assert all(not first[n].any() for n in first if "lora_B" in n)


@pytest.mark.parametrize(("option", "flag"), [("dora", "use_dora"), ("rslora", "use_rslora")])
def test_variants_reach_peft(option: str, flag: str) -> None:
    _, attached = attach(f"lora={option}")
    assert getattr(attached.model.peft_config["default"], flag)


def test_extra_keys_are_checked_against_peft() -> None:
    adapters.check_extra(load("+lora.extra.layers_to_transform=[0]").lora)
    with pytest.raises(ConfigError, match=r"lora\.extra\.layer_to_transform: did you mean"):
        adapters.check_extra(load("+lora.extra.layer_to_transform=[0]").lora)
    with pytest.raises(ConfigError, match=r"lora\.extra\.lora_alpha"):
        adapters.check_extra(load("+lora.extra.lora_alpha=3").lora)


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    run = load("hardware=cpu")
    with pytest.raises(AdapterError, match=r"has no adapter_config.json"):
        adapters.load(str(tmp_path), base_for(run).model)


def test_vanilla_peft_loads_what_is_saved_with_the_same_logits(tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = load("hardware=cpu", "lora=rslora")
    base = base_for(run)
    attached = adapters.attach(run, base.model)
    with torch.no_grad():
        for name, parameter in attached.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    ids = torch.arange(10, 40)[None]
    attached.model.eval()
    ours = attached.model(input_ids=ids).logits
    adapters.save(
        attached.model, base.tokenizer, tmp_path / "adapter", base_source="tiny", card="# Card\n"
    )
    plain = AutoModelForCausalLM.from_pretrained(models.BASES / "tiny", dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert torch.equal(loaded(input_ids=ids).logits, ours)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    assert tokenizer.chat_template == base.tokenizer.chat_template
    assert {p.name for p in (tmp_path / "adapter").iterdir()} >= {
        *("adapter_config.json", "adapter_model.safetensors", "tokenizer.json"),
        *("chat_template.jinja", "README.md"),
    }
