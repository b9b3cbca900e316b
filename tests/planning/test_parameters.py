"""Shapes and parameter counts, held against model files, PEFT, and published numbers."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, load
from experiments.config import LoraConfig
from experiments.config.geometry import Geometry
from experiments.errors import AdapterError, ConfigError
from experiments.models.adapters import targets
from experiments.planning import model_geometry, parameters

OF_USERS = ("local", "gguf")
FILES = sorted(
    path.stem for path in (ROOT / "conf" / "model").glob("*.yaml") if path.stem not in OF_USERS
)
MODELS = [name for name in FILES if not name.endswith("_4bit")]
# Parameters of the released checkpoints, a tied head counted once.
PUBLISHED = {
    "qwen3_0_6b": 596_049_920,
    "qwen3_1_7b": 1_720_574_976,
    "qwen2_5_1_5b": 1_543_714_304,
    "llama3_2_1b": 1_235_814_400,
    "llama3_1_8b": 8_030_261_248,
    "tinyllama_1_1b": 1_100_048_384,
    "smollm2_1_7b": 1_711_376_384,
    "smollm2_135m": 134_515_008,
    "smollm2_135m_q4": 134_515_008,
}
LORAS: dict[str, dict[str, Any]] = {
    "all_linear": {},
    "qv": {"target_modules": ["q_proj", "v_proj"]},
    "dora": {"use_dora": True},
    "attention with biases": {"target_modules": ["k_proj", "o_proj"], "extra": {"bias": "all"}},
    "biases of the adapted": {"target_modules": ["q_proj"], "extra": {"bias": "lora_only"}},
    "an adapter on the head": {"output_head": True},
    "a trained head": {"extra": {"modules_to_save": ["lm_head"]}},
    "norms": {"extra": {"modules_to_save": ["norm"]}},
    "one layer": {"target_modules": ["q_proj"], "extra": {"layers_to_transform": [1]}},
    "two ranks": {"extra": {"rank_pattern": {"down_proj": 3}}},
    "all but one": {"extra": {"exclude_modules": ["up_proj"]}},
    "biases in B": {"target_modules": ["k_proj"], "extra": {"lora_bias": True}},
}


def shape_of(model: str) -> Geometry:
    return model_geometry.of(load(f"model={model}").model)


def on_meta(shape: Geometry) -> Any:
    """Return the real model of a shape, without its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    described = AutoConfig.for_model(
        shape.architecture,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied_embeddings,
        max_position_embeddings=shape.positions,
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(described)


def trainable(model: Any, lora: LoraConfig) -> int:
    """Return what PEFT itself trains."""
    import peft

    spec = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        target_modules=targets.with_head("all-linear", model)
        if lora.output_head
        else lora.target_modules,
        use_dora=lora.use_dora,
        **lora.extra,
    )
    attached = peft.get_peft_model(model, spec, low_cpu_mem_usage=True)
    return sum(p.numel() for p in attached.parameters() if p.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_all_and_trained_parameters_of_every_model_are_those_of_the_libraries(model: str) -> None:
    shape, lora = shape_of(model), LoraConfig(r=7)
    real = on_meta(shape)
    counted = parameters.count(shape, LoraConfig(method="none"))
    assert counted.total == counted.trainable == sum(p.numel() for p in real.parameters())
    frozen = parameters.count(shape, LoraConfig(method="none"), freeze_embeddings=True)
    assert counted.total - frozen.trainable == real.get_input_embeddings().weight.numel()
    assert counted.total == PUBLISHED.get(model, counted.total)
    assert parameters.count(shape, lora).trainable == trainable(real, lora)


@pytest.mark.parametrize("model", [name for name in FILES if name.endswith("_4bit")])
def test_a_base_in_4_bits_has_the_shape_of_its_plain_one(model: str) -> None:
    assert shape_of(model) == shape_of(model.removesuffix("_4bit"))


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize("name", LORAS)
@pytest.mark.parametrize("model", ["tiny", "qwen2_5_1_5b"])
def test_variants_of_lora_are_counted_as_peft_counts_them(model: str, name: str) -> None:
    shape = dataclasses.replace(shape_of(model), layers=2)
    lora = LoraConfig(r=5, **LORAS[name])
    assert parameters.count(shape, lora).trainable == trainable(on_meta(shape), lora)


@pytest.mark.parametrize(
    ("model", "attention", "mlp"),
    [
        ("qwen3_0_6b", 286_720, 344_064),
        ("qwen3_1_7b", 401_408, 688_128),
        ("llama3_1_8b", 851_968, 1_769_472),
    ],
)
def test_parameters_per_rank_are_the_published_ones(model: str, attention: int, mlp: int) -> None:
    """Cookbook counts for Llama-3.1-8B; for Qwen3 computed from the same formula."""
    for names, wanted in (
        (["q_proj", "k_proj", "v_proj", "o_proj"], attention),
        (["gate_proj", "up_proj", "down_proj"], mlp),
    ):
        lora = LoraConfig(r=1, target_modules=names)
        assert parameters.count(shape_of(model), lora).trainable == wanted


def test_a_misspelt_target_is_refused_before_anything_is_loaded() -> None:
    lora = LoraConfig(r=1, target_modules=["q_proj", "v_prj"])
    with pytest.raises(AdapterError, match="'v_prj' matches no linear layer of this model; did"):
        parameters.count(shape_of("tiny"), lora)


def test_a_key_that_changes_the_count_unseen_is_named() -> None:
    lora = LoraConfig(r=1, extra={"trainable_token_indices": [1]})
    assert parameters.count(shape_of("tiny"), lora).uncounted == ("trainable_token_indices",)


def local(folder: Path, **fields: Any) -> Path:
    """Write the embedded model's config.json with some fields changed; None removes one."""
    file = ROOT / "src" / "experiments" / "models" / "bases" / "tiny" / "config.json"
    tree = json.loads(file.read_text(encoding="utf-8")) | fields
    text = json.dumps({k: v for k, v in tree.items() if v is not None})
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def test_a_local_folder_needs_no_geometry(tmp_path: Path) -> None:
    folder = local(tmp_path, num_hidden_layers=3)
    found = model_geometry.of(load("model=local", f"model.path={folder}").model)
    assert found == dataclasses.replace(shape_of("tiny"), layers=3)


def test_a_geometry_that_contradicts_the_models_own_file_is_refused(tmp_path: Path) -> None:
    folder = local(tmp_path, num_hidden_layers=3)
    spec = load("model=tiny", "model.embedded=null", f"model.path={folder}").model
    with pytest.raises(ConfigError, match=r"model=tiny has layers 4, not 3 as in .*config.json"):
        model_geometry.of(spec)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"hidden_size": None}, "has no `hidden_size`"),
        ({"num_hidden_layers": "four"}, "says 'four' for `num_hidden_layers`"),
        ({"model_type": None}, "has no `model_type`"),
    ],
)
def test_a_field_that_config_json_lacks_is_named_with_its_file(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    folder = local(tmp_path, **fields)
    with pytest.raises(ConfigError, match=sentence) as raised:
        model_geometry.of(load("model=local", f"model.path={folder}").model)
    assert "config.json" in str(raised.value) and str(raised.value).count(". ") == 0


def test_a_hub_model_without_geometry_says_what_to_do() -> None:
    spec = load("model=local", "model.hub_id=nobody/nothing").model
    with pytest.raises(ConfigError, match="has no `geometry`"):
        model_geometry.of(spec)


def test_an_incomplete_geometry_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.geometry lacks layers: set all fields"):
        load("model=qwen3_0_6b", "model.geometry.layers=null")


def test_the_geometry_is_no_part_of_a_runs_identity() -> None:
    from experiments import config

    run, other = load(), load("model.geometry.layers=5", "plan.rows=3")
    assert config.run_id(run) == config.run_id(other)
