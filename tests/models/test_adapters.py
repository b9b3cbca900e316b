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


def test_an_adapter_on_the_output_head_is_trained_and_the_tied_embedding_is_not() -> None:
    run, attached = attach("lora=all_linear_and_head", "lora.r=3")
    base = base_for(run)
    vocabulary, hidden = base.model.get_input_embeddings().weight.shape
    _, without = attach("lora=all_linear", "lora.r=3")
    assert attached.modules == without.modules | {"lm_head": 1}
    added = attached.trainable_parameters - without.trainable_parameters
    assert added == 3 * (vocabulary + hidden)
    assert not attached.model.get_input_embeddings().weight.requires_grad
    assert attached.notes == (
        "output head lm_head has an adapter; the input embedding, with which it shares its weight, "
        "is not trained",
    )


def test_an_adapter_on_the_head_can_be_added_to_any_group_or_named_as_a_target() -> None:
    _, added = attach("lora=qv", "lora.output_head=true")
    _, named = attach("lora.target_modules=[q_proj,v_proj,lm_head]")
    assert added.modules == named.modules
    assert set(added.modules) == {"q_proj", "v_proj", "lm_head"}


def test_a_trained_copy_of_the_head_is_pefts_modules_to_save() -> None:
    tied = "+lora.extra.ensure_weight_tying=true"  # the embedded base's head is its embedding
    _, attached = attach("lora=qv", "+lora.extra.modules_to_save=[lm_head]", tied)
    assert any("modules_to_save" in n for n, p in attached.model.named_parameters())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lora=none", "lora.output_head=true"], "lora.output_head is set with lora=none"),
        (
            ["lora.output_head=true", "+lora.extra.ensure_weight_tying=true"],
            "would also change the input embedding",
        ),
        (
            ["lora.output_head=true", "+trainer.extra.loss_type=dft"],
            "read the head's weight without its adapter",
        ),
        (
            ["lora=qv", "trainer.freeze_embeddings=true"],
            "trainer.freeze_embeddings=true with lora=qv",
        ),
    ],
)
def test_settings_of_head_and_embedding_that_nothing_would_use_are_refused(
    overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load("hardware=cpu", *overrides)


@pytest.mark.parametrize(
    "key", ["+lora.extra.ensure_weight_tying=true", "+trainer.extra.label_smoothing_factor=0.1"]
)
def test_a_named_head_is_refused_with_what_would_not_train_its_adapter_alone(key: str) -> None:
    with pytest.raises(AdapterError, match="an adapter on the output head 'lm_head'"):
        attach("lora.target_modules=[q_proj,lm_head]", key)


def test_frozen_embeddings_freeze_the_tied_head_too_and_say_so() -> None:
    run, attached = attach("lora=none", "trainer.freeze_embeddings=true")
    base = base_for(run)
    table = base.model.get_input_embeddings().weight.numel()
    assert attached.trainable_parameters == base.parameters - table
    assert not attached.model.get_output_embeddings().weight.requires_grad
    assert attached.notes == (
        "input embedding embed_tokens is frozen, and with it the output head that is tied to it",
    )


def test_frozen_embeddings_leave_a_head_of_its_own_trained() -> None:
    run = load("hardware=cpu", "lora=none", "trainer.freeze_embeddings=true")
    model = base_for(run).model
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    attached = adapters.attach(run, model)
    assert attached.model.get_output_embeddings().weight.requires_grad
    assert not attached.model.get_input_embeddings().weight.requires_grad
    assert attached.notes == ("input embedding embed_tokens is frozen; the output head is trained",)


def test_the_share_of_the_linear_layers_is_counted_by_hand() -> None:
    run, attached = attach("lora=qv", "lora.r=3", "lora.output_head=true")
    layers = [
        (name, module)
        for name, module in base_for(run).model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    weights = sum(module.weight.numel() for _, module in layers)
    trained = sum(
        3 * (module.in_features + module.out_features)
        for name, module in layers
        if name.endswith(("q_proj", "v_proj"))
    )
    assert attached.linear_share == trained / weights
    _, full = attach("lora=none", "trainer.freeze_embeddings=true")
    assert full.linear_share == 1


@pytest.mark.slow
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


def with_trained_head(run: RunConfig) -> tuple[Base, Any]:
    """Return a base and its model with an adapter on the head that is not zero."""
    base = base_for(run)
    attached = adapters.attach(run, base.model)
    with torch.no_grad():
        for name, parameter in attached.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return base, attached.model.eval()


def test_an_adapter_on_the_head_is_saved_without_the_embedding_and_loaded_by_vanilla_peft(
    tmp_path: Path,
) -> None:
    import peft
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    run = load("hardware=cpu", "lora=all_linear_and_head")
    base, model = with_trained_head(run)
    ids = torch.arange(10, 40)[None]
    ours = model(input_ids=ids).logits
    adapters.save(model, base.tokenizer, tmp_path / "adapter", base_source="tiny", card="# Card\n")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(".lora_" in name for name in saved)
    plain = AutoModelForCausalLM.from_pretrained(models.BASES / "tiny", dtype=torch.float32)
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        loaded = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert torch.equal(loaded(input_ids=ids).logits, ours)
    again = adapters.load(str(tmp_path / "adapter"), base_for(run).model)
    assert torch.equal(again.eval()(input_ids=ids).logits, ours)


def test_an_adapter_on_a_tied_head_is_merged_into_a_head_of_its_own(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    run = load("hardware=cpu", "lora=all_linear_and_head")
    _, model = with_trained_head(run)
    ids = torch.arange(10, 40)[None]
    ours = model(input_ids=ids).logits
    embedding = model.get_input_embeddings().weight.clone()
    adapters.merged(model).save_pretrained(tmp_path / "merged", safe_serialization=True)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    torch.testing.assert_close(plain(input_ids=ids).logits, ours, rtol=1e-4, atol=1e-4)
    assert torch.equal(plain.get_input_embeddings().weight, embedding)
    assert plain.config.tie_word_embeddings is False


def test_training_goes_on_only_with_a_saved_adapter_that_has_the_head(tmp_path: Path) -> None:
    run = load("hardware=cpu", "lora=qv", "lora.r=4")
    base = base_for(run)
    attached = adapters.attach(run, base.model)
    adapters.save(
        attached.model, base.tokenizer, tmp_path / "adapter", base_source="tiny", card="# Card\n"
    )
    given = ("lora.r=4", "lora.output_head=true", f"model.adapter={tmp_path}/adapter")
    with pytest.raises(AdapterError, match="has no adapter on the output head"):
        attach("lora=qv", *given)
