"""Mixtures of experts, transposed layers, models of several parts: built here, at random."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from conftest import load
from experiments.config import LoraConfig
from experiments.errors import AdapterError, ConfigError
from experiments.models import adapters, layers, shape
from experiments.planning import model_geometry
from experiments.training import untouched

SMALL = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64},
    **{"num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 512},
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def gpt2() -> Any:
    config = transformers.GPT2Config(vocab_size=64, n_positions=96, n_embd=16, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def qwen3moe() -> Any:
    return transformers.Qwen3MoeForCausalLM(
        transformers.Qwen3MoeConfig(**SMALL, **EXPERTS, head_dim=8)
    )


def gemma3() -> Any:
    text = transformers.Gemma3TextConfig(**SMALL, head_dim=8).to_dict()
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=6
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def adapted(model: Any, *overrides: str) -> Any:
    run = load("hardware=cpu", *overrides)
    return adapters.attach(run, model)


def test_transposed_layers_are_adapted_by_name_and_change_what_the_model_says() -> None:
    attached = adapted(gpt2(), "lora.target_modules=[c_attn]")
    assert attached.modules == {"c_attn": 2}
    ids = torch.arange(8)[None]
    attached.model(input_ids=ids, labels=ids).loss.backward()
    grads = [p.grad for n, p in attached.model.named_parameters() if "lora_B" in n]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_names_that_a_fused_model_lacks_are_refused_with_those_it_has() -> None:
    with pytest.raises(AdapterError) as caught:
        adapted(gpt2(), "lora=qv")
    assert "'q_proj' matches no linear layer" in str(caught.value)
    assert "c_attn" in str(caught.value)
    assert "lm_head" not in str(caught.value)


def test_all_linear_leaves_experts_and_router_out_and_says_so() -> None:
    attached = adapted(qwen3moe(), "lora=all_linear")
    assert set(attached.modules) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert adapters.left_out(attached.model) == ["experts", "gate"]


def test_experts_that_are_stacked_are_refused_with_the_key_that_adapts_them() -> None:
    with pytest.raises(AdapterError, match=r"lora\.extra\.target_parameters="):
        adapted(qwen3moe(), "lora=mlp")


def test_stacked_experts_are_adapted_when_they_are_named(tmp_path: Path) -> None:
    model = adapted(
        qwen3moe(),
        "lora=qv",
        "lora.lora_dropout=0",
        "+lora.extra.target_parameters=[mlp.experts.gate_up_proj]",
    ).model
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any("experts" in name for name in trained)
    assert any("q_proj" in name for name in trained)
    assert adapters.left_out(model) == []


def test_a_vision_tower_gets_no_adapter() -> None:
    attached = adapted(gemma3(), "lora=all_linear").model
    hit = [name for name, module in attached.named_modules() if hasattr(module, "lora_A")]
    assert hit and not any("vision" in name or "projector" in name for name in hit)


def test_what_a_trainer_writes_into_a_config_is_undone() -> None:
    model = qwen3moe()
    with untouched.config_of(model):
        model.config.output_router_logits = True
        model.generation_config.pad_token_id = 5
    assert model.config.output_router_logits is False
    assert model.generation_config.pad_token_id is None


@pytest.mark.parametrize(("make", "expected"), [(gpt2, 96), (gemma3, 512), (qwen3moe, 512)])
def test_positions_are_read_under_older_names_and_from_the_text_part(
    make: Any, expected: int
) -> None:
    notes: list[str] = []
    assert shape.positions(make().config, notes) == expected
    assert notes == []


@pytest.mark.parametrize(("make", "layers_"), [(gpt2, 2), (gemma3, 2)])
def test_a_plan_reads_nested_and_older_configs(make: Any, layers_: int, tmp_path: Path) -> None:
    make().config.save_pretrained(tmp_path)
    found = model_geometry.read(tmp_path / "config.json")
    assert (found.layers, found.hidden_size, found.vocabulary) == (layers_, 16, 64)


@pytest.mark.parametrize("name", ["Mamba", "Mamba2"])
def test_models_that_carry_a_state_are_refused_by_what_they_are(name: str) -> None:
    with pytest.raises(ConfigError, match="has no attention"):
        shape.refuse_other_kinds(getattr(transformers, f"{name}Config")())


def test_wrong_targets_are_refused_from_the_headers_of_the_weight_files(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    layers.refuse_wrong_targets(LoraConfig(target_modules=["c_attn", "c_proj"]), tmp_path)
    with pytest.raises(AdapterError, match=r"'c_atn' matches no linear layer.*'c_attn'"):
        layers.refuse_wrong_targets(LoraConfig(target_modules=["c_atn"]), tmp_path)


def test_a_pad_token_beyond_the_embedding_is_refused() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {f"w{i}": i for i in range(63)} | {"</s>": 63}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), eos_token="</s>"
    )
    model = qwen3moe()
    shape.refuse_ids_beyond_embedding(model, tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    with pytest.raises(ConfigError, match=r"'\[PAD\]' \(id 64\).*64 rows"):
        shape.refuse_ids_beyond_embedding(model, tokenizer)


def test_a_config_without_a_longest_sequence_says_what_is_taken() -> None:
    notes: list[str] = []
    config = transformers.PretrainedConfig(model_type="unlimited")
    assert shape.positions(config, notes) == 2048
    assert "gives no maximum sequence length" in notes[0]
    assert json.dumps(notes)
