"""A base that leaves the range of fp16 is refused before it trains, and no other."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from conftest import load
from experiments import models
from experiments.errors import ConfigError
from experiments.models import fp16_range

BF16_ONLY = 3e4  # as in released Gemma 3, gains of norms are large: residuals exceed 65,504


def gemma3(folder: Path) -> Path:
    """Save a small Gemma 3 whose residual stream grows as that of the released ones does."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (models.BASES / "tiny" / name).is_file():
            shutil.copy(models.BASES / "tiny" / name, folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gemma3_text",
        **{"vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
        **{"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"max_position_embeddings": 512, "sliding_window": 64},
    )
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if "post_feedforward_layernorm" in name:
            parameter.data.fill_(BF16_ONLY)
    model.save_pretrained(folder)
    return folder


def loaded(folder: Path, precision: str, *overrides: str) -> Any:
    """Load a base as on a card that computes in this precision, on a CPU."""
    run = load("model=local", f"model.path={folder}", "hardware=cpu", *overrides)
    on_cpu = dataclasses.replace(models.choose_precision(run), name=precision)
    return models.load(run, on_cpu)


@pytest.mark.parametrize("lora", ["all_linear", "none"])
def test_a_gemma_3_that_overflows_in_fp16_is_refused_with_the_remedy(
    tmp_path: Path, lora: str
) -> None:
    folder = gemma3(tmp_path / "gemma")
    with pytest.raises(ConfigError) as caught:
        loaded(folder, "fp16", f"lora={lora}")
    text = str(caught.value)
    assert "overflows in fp16: its activations exceed 65,504" in text
    assert "use trainer.precision=fp32" in text and "or bf16 on a GPU of compute" in text
    assert text.count(". ") == 0  # one sentence
    for precision in ("fp32", "bf16"):
        assert loaded(folder, precision, f"lora={lora}").model.training is False


@pytest.mark.parametrize("lora", ["all_linear", "none"])
def test_a_base_within_the_range_of_fp16_is_loaded_without_a_note(lora: str) -> None:
    base = loaded(models.BASES / "tiny", "fp16", f"lora={lora}")
    assert not [note for note in base.notes if "fp16" in note]


def test_hidden_states_close_to_the_end_of_the_range_are_noted() -> None:
    base = loaded(models.BASES / "tiny", "fp32")
    model = base.model.half()
    model.get_input_embeddings().weight.data.mul_(0).add_(40_000.0)
    model.lm_head.weight = torch.nn.Parameter(torch.ones_like(model.lm_head.weight) / 1e3)
    [note] = fp16_range.refuse_overflow(model, base.tokenizer)
    assert "hidden states reach 40," in note and "trainer.precision=fp32" in note
