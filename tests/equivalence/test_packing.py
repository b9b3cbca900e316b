"""Packed rows train as padded ones do, or packing is refused."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch.nn import functional

from conftest import SMOKE, load
from experiments import models, runs
from experiments.data import Encoded
from experiments.errors import ConfigError
from experiments.evaluation.metrics import loss
from experiments.records import Record
from experiments.runs import Job
from experiments.training import packing

SIZES: dict[str, Any] = {
    **{"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3},
    **{"num_attention_heads": 4},
}


def qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16))


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2))


def embedded() -> Any:
    run = load("hardware=cpu")
    return models.load(run, models.choose_precision(run)).model


def rows(seed: int = 0, vocabulary: int = 300) -> list[dict[str, list[int]]]:
    """Return rows of unlike lengths: a prompt, a trained answer, one without a prompt."""
    made = np.random.default_rng(seed)
    drawn = []
    for length, prompt in ((23, 9), (5, 4), (40, 0), (2, 1), (17, 12)):
        ids = made.integers(3, vocabulary, length).tolist()
        drawn.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return drawn


class Row:
    def __init__(self, row: dict[str, list[int]]) -> None:
        self.input_ids, self.labels = row["input_ids"], row["labels"]


def packed_nll(model: Any, batch: dict[str, Any]) -> list[list[float]]:
    """Return the NLL of each row's trained tokens in a packed batch."""
    with torch.no_grad():
        logits_TV = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits[0]
    labels_T = batch["labels"][0]
    nll_T = functional.cross_entropy(
        logits_TV[:-1].float(), labels_T[1:], ignore_index=-100, reduction="none"
    )
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    found = []
    for start, behind in zip(starts, [*starts[1:], len(labels_T)], strict=True):
        wanted = labels_T[start + 1 : behind] != -100
        found.append(nll_T[start : behind - 1][wanted].tolist())
    return found


@pytest.mark.parametrize("make", [embedded, qwen3, llama])
def test_each_row_has_the_loss_it_has_alone(make: Any) -> None:
    torch.manual_seed(0)
    model = make().eval()
    assert model.config._attn_implementation == "sdpa"
    mine = rows()
    together = packed_nll(model, packing.collate(mine))
    alone = [loss.token_losses(model, [Row(row)])[0] for row in mine]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=2e-5)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    prompts=st.lists(st.integers(0, 9), min_size=8, max_size=8),
)
def test_packing_keeps_every_token_and_every_label_that_can_be_predicted(
    lengths: list[int], prompts: list[int]
) -> None:
    made = []
    for number, (length, prompt) in enumerate(zip(lengths, prompts, strict=False)):
        ids = [100 * number + place for place in range(length)]
        made.append({"input_ids": ids, "labels": [-100] * min(prompt, length) + ids[prompt:]})
    batch = packing.collate(made)
    assert batch["input_ids"].tolist() == [[i for row in made for i in row["input_ids"]]]
    assert batch["position_ids"].tolist() == [[p for n in lengths for p in range(n)]]
    kept = [label for label in batch["labels"][0].tolist() if label != -100]
    assert kept == [label for row in made for label in row["labels"][1:] if label != -100]
    assert "attention_mask" not in batch


def trained(folder: Path, *overrides: str) -> Record:
    # SGD, because Adam divides by the gradient's size: where a gradient is rounding, a step is not.
    quick = ("eval.base=false", "trainer.logging_steps=1", "trainer.keep=adapter")
    sgd = ("trainer.optimizer=sgd", "trainer.learning_rate=0.5", "trainer.micro_batch_size=4")
    return runs.run_one(load(*SMOKE, *quick, *sgd, *overrides), Job(folder)).record


def weights(record: Record) -> np.ndarray[Any, Any]:
    tensors = load_file(record.folder / "adapter" / "adapter_model.safetensors")
    return np.concatenate([tensors[name].reshape(-1) for name in sorted(tensors)])


@pytest.mark.slow
def test_packed_training_is_padded_training(tmp_path: Path) -> None:
    padded = trained(tmp_path / "padded")
    packed = trained(tmp_path / "packed", "trainer.packing=true")
    residuals = [a["loss"] - b["loss"] for a, b in zip(packed.curve, padded.curve, strict=True)]
    # Sums of a few hundred fp32 terms in another order: 1e-7 relative each, losses near 3.
    assert max(map(abs, residuals)) < 2e-5
    difference = weights(packed) - weights(padded)
    assert np.linalg.norm(difference) / np.linalg.norm(weights(padded)) < 1e-5


def probed(model: Any, dtype: torch.dtype | None = None) -> tuple[float, float]:
    def computing() -> Any:
        return torch.autocast("cpu", dtype) if dtype else contextlib.nullcontext()

    two = [row["input_ids"] for row in rows() if len(row["input_ids"]) > 20]
    return packing.probe(model, two, computing)


@pytest.mark.parametrize("make", [qwen3, llama])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_the_probe_finds_no_leak_where_there_is_none(make: Any, dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    leak, drift = probed(make(), dtype)
    assert leak == 0
    assert drift < 4e-3


def test_the_probe_finds_the_leak_of_a_kernel_without_block_masks() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(vocab_size=300, hidden_size=64, n_layer=2, n_head=4))
    leak, _ = probed(model)
    assert leak > 1e-3


def test_a_model_that_lets_packed_rows_see_each_other_is_refused() -> None:
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = OPTForCausalLM(OPTConfig(vocab_size=300, word_embed_proj_dim=64, **sizes))

    found: list[Encoded] = [Row(row) for row in rows()]  # type: ignore[misc]
    with pytest.raises(ConfigError) as refused:
        packing.refuse_leaks(model, found, "fp32", contextlib.nullcontext)
    assert str(refused.value).startswith(
        "trainer.packing=true: OPTForCausalLM with sdpa attention lets packed rows affect "
        "each other"
    )
    assert str(refused.value).endswith("0.01%): set trainer.packing=false.")
    packing.refuse_leaks(qwen3(), found, "fp32", contextlib.nullcontext)
