"""Families of models, tiny and random: trained and scored as their authors meant, or refused.

Each goes through the project's own loading, adapters, loss, trainer and answers.
"""

import dataclasses
import functools
import gc
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from conftest import load
from experiments import models as bases
from experiments import training
from experiments.config import RunConfig
from experiments.data import Encoded, TrainData
from experiments.errors import AdapterError, ConfigError
from experiments.evaluation import batched_generation
from experiments.evaluation.metrics import loss
from experiments.models import Base, adapters, causal_lm_loss

VOCABULARY = 96
TOKENS: dict[str, Any] = {
    **{"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
}
SMALL: dict[str, Any] = TOKENS | {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128},
}
EIGHT = {"head_dim": 8}
OLDER = TOKENS | {
    **{"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4},
    **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    **{"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 8, "v_head_dim": 8},
    **{"qk_rope_head_dim": 4, "qk_nope_head_dim": 4},
}
ROUTED = {
    **{"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1},
    **{"topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1},
}
LINEAR = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8},
    **{"linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]},
}
SCAN = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen2": SMALL,
    "qwen3": SMALL | EIGHT | {"tie_word_embeddings": True},
    "qwen3_moe": SMALL | EXPERTS | EIGHT,
    "qwen2_moe": SMALL | EXPERTS | {"shared_expert_intermediate_size": 32},
    "qwen3_next": SMALL | EXPERTS | EIGHT | LINEAR | {"shared_expert_intermediate_size": 32},
    "mixtral": SMALL | LOCAL_EXPERTS,
    "mistral": SMALL | {"sliding_window": 8},
    "gemma": SMALL | EIGHT,
    "gemma2": SMALL | EIGHT | WINDOW | {"query_pre_attn_scalar": 8},
    "gemma3_text": SMALL | EIGHT | WINDOW,
    "phi": SMALL,
    "phi3": SMALL | {"original_max_position_embeddings": 128},
    "gpt2": OLDER,
    "gpt_neox": SMALL,
    "gptj": OLDER | {"rotary_dim": 8},
    "opt": SMALL | {"dropout": 0.0, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": TOKENS | {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": SMALL | {"new_decoder_architecture": False},
    "olmo2": SMALL,
    "granite": SMALL | {"logits_scaling": 3.0},
    "granitemoe": SMALL | LOCAL_EXPERTS,
    "stablelm": SMALL,
    "starcoder2": SMALL,
    "cohere": SMALL | {"logit_scale": 0.4},
    "smollm3": SMALL,
    "gpt_oss": SMALL | LOCAL_EXPERTS | EIGHT | WINDOW,
    "deepseek_v3": SMALL | LATENT | ROUTED,
    "glm4": SMALL | EIGHT,
    "ernie4_5": SMALL | EIGHT,
    "lfm2": SMALL | {"layer_types": ["conv", "full_attention"]},
    "bamba": SMALL | SCAN | {"attn_layer_indices": [1]},
    "falcon_h1": SMALL | SCAN | EIGHT | {"mamba_d_ssm": 64},
}
# Their projections of queries and values have other names, or are one layer.
WITHOUT_Q_AND_V = ("phi3", "gpt2", "gpt_neox", "bloom", "falcon", "deepseek_v3")
# Of each kind one, as a trainer takes longer than all else here.
WITH_THE_TRAINER = ("llama", "gpt2", "qwen3_next", "falcon_h1")
EXPERT_WEIGHTS = {
    "qwen3_moe": "mlp.experts.gate_up_proj,mlp.experts.down_proj",
    "mixtral": "mlp.experts.gate_up_proj",
    "gpt_oss": "mlp.experts.down_proj",
    "deepseek_v3": "mlp.experts.gate_up_proj",
}
STATE = TOKENS | {"hidden_size": 32, "num_hidden_layers": 2}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mamba": (STATE | {"state_size": 8}, "has no attention"),
    "rwkv": (STATE | {"context_length": 128, "attention_hidden_size": 32}, "has no attention"),
    "bert": (SMALL, "predicts tokens from later ones"),
    "openai-gpt": (OLDER, "cannot generate in batches"),
    "minimax": (SMALL | LOCAL_EXPERTS | EIGHT | LINEAR | {"block_size": 16}, "cannot generate"),
}
IDS = [5, 40, 61, 33, 7, 90, 11, 52, 70, 18, 29, 83, 64, 9, 47, 22]
PROMPTS = [IDS[:5], IDS + IDS[::-1] + IDS[3:], IDS[2:14]]


def saved(family: str, about: dict[str, Any], folder: Path) -> Path:
    """Write a model of a family, with weights that make some tokens likelier than others."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **about)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    letters = ["<s>", "</s>", "<pad>", "<unk>", *(chr(32 + i) for i in range(VOCABULARY - 4))]
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@functools.cache
def described(*overrides: str) -> RunConfig:
    return load(
        *("hardware=cpu", "model=local", "model.path=FOLDER", "tracker=none", "trainer=smoke"),
        *("trainer.max_steps=1", "trainer.batch_size=2", "lora.lora_dropout=0", *overrides),
    )


def loaded(folder: Path, *overrides: str) -> tuple[RunConfig, Base]:
    run = described(*overrides)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, path=str(folder)))
    return run, bases.load(run, bases.choose_precision(run))


@pytest.fixture(autouse=True, scope="module")
def imports_are_not_searched_for_garbage() -> Iterator[None]:
    """Trainers collect garbage: a tenth of a second a time over all that is imported."""
    gc.freeze()
    yield
    gc.unfreeze()


def rows() -> list[Encoded]:
    return [
        Encoded({}, array("i", IDS), ((9, 16),), 9),
        Encoded({}, array("i", IDS[:11]), ((4, 6), (8, 11)), 8),
    ]


def logits(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def own_loss(model: Any) -> float:
    """Return the token mean over the rows of the loss that the model computes itself."""
    total, count = 0.0, 0
    for row in rows():
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        with torch.no_grad():
            mean = model(input_ids=ids, labels=labels, use_cache=False).loss
        trained = int((labels[:, 1:] != -100).sum())
        total, count = total + float(mean) * trained, count + trained
    return total / count


def check_losses(base: Base) -> None:
    own = own_loss(base.model)
    assert loss.mean_nll(loss.token_nll(base.model, rows())) == pytest.approx(own, rel=1e-5)


def check_answers(base: Base) -> None:
    """Compare the answers of the pool with greedy tokens from whole passes, one at a time.

    The first answer ends at once, so that its row leaves the pool and another one takes its place.
    """
    continued = []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(4):
            ids.append(int(logits(base.model, ids)[-1].argmax()))
        continued.append(ids[len(prompt) :])
    base.end_ids = [continued[0][0]]
    ends = [ids.index(base.end_ids[0]) if base.end_ids[0] in ids else 4 for ids in continued]
    wanted = [base.tokenizer.decode(ids[:end]) for ids, end in zip(continued, ends, strict=True)]
    found: dict[int, str] = {}
    batched_generation.generate(
        *(base.model, base, PROMPTS, batched_generation.Limits(4, pool_rows=2)),
        lambda i, answer: found.__setitem__(i, answer.text),
    )
    assert [found[i] for i in range(len(PROMPTS))] == wanted


def check_targets(family: str, base: Base) -> None:
    """Queries and values can be adapted where they have layers of their own, else are refused."""
    lora = described("lora=qv").lora
    if family in WITHOUT_Q_AND_V:
        with pytest.raises(AdapterError, match=r"lora\.target_modules: .* Allowed: "):
            adapters.check_targets(lora, base.model)
    else:
        adapters.check_targets(lora, base.model)


def one_step(model: Any) -> float:
    """Take a step with the loss that the trainer takes; return it, in nats per trained token."""
    measure = causal_lm_loss.of(model)
    model.train()
    parts = []
    for row in rows():
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
        parts.append(measure(model, inputs, labels)[0])
    value: Any = torch.cat(parts).mean()
    value.backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2).step()
    return float(value.item())


def trainers_step(run: RunConfig, model: Any, base: Base, folder: Path) -> float:
    """Take a step with the trainer."""
    data = TrainData({"train": rows()}, "", {}, renderer=None)  # type: ignore[arg-type]
    task = training.Task(
        *(run, model, base, data, folder / "run"), lambda *_: False, lambda *_: None
    )
    return training.fit(task).curve[0]["loss"]


def check_training(run: RunConfig, base: Base, folder: Path, *, trainer: bool) -> dict[str, int]:
    """Train one step, save, load again; return what was adapted."""
    own = own_loss(base.model)
    attached = adapters.attach(run, base.model)
    model = attached.model
    found = trainers_step(run, model, base, folder) if trainer else one_step(model)
    assert found == pytest.approx(own, rel=1e-4)
    still = [n for n, p in model.named_parameters() if "lora_B" in n and not p.any()]
    assert still == []
    after = logits(model, IDS)
    out = folder / "adapter"
    adapters.save(model, base.tokenizer, out, base_source="base", card="")
    again = adapters.load(str(out), loaded(folder)[1].model)
    assert torch.equal(logits(again, IDS), after)
    return attached.modules


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_scored_trained_and_loaded_again(family: str, tmp_path: Path) -> None:
    run, base = loaded(saved(family, FAMILIES[family], tmp_path), "lora=all_linear")
    check_losses(base)
    check_answers(base)
    check_targets(family, base)
    modules = check_training(run, base, tmp_path, trainer=family in WITH_THE_TRAINER)
    assert not {"lm_head", "embed_out", "gate", "router"} & modules.keys()


@pytest.mark.parametrize("family", EXPERT_WEIGHTS)
def test_named_experts_are_trained_and_loaded_again(family: str, tmp_path: Path) -> None:
    named = ("lora=attention", f"+lora.extra.target_parameters=[{EXPERT_WEIGHTS[family]}]")
    run, base = loaded(
        saved(family, FAMILIES[family], tmp_path), *named, "lora.target_modules=[o_proj]"
    )
    check_training(run, base, tmp_path, trainer=True)


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_be_scored_is_refused_as_it_is_loaded(
    family: str, tmp_path: Path
) -> None:
    about, why = REFUSED[family]
    with pytest.raises(ConfigError, match=rf"(?s){why}.*model\.hub_id or model\.path") as caught:
        loaded(saved(family, about, tmp_path))
    assert family in str(caught.value)
