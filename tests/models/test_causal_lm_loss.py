"""A model's loss without its logits is the loss that the model itself computes."""

import dataclasses
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from datasets import Dataset
from torch.nn import functional

from experiments import models
from experiments.evaluation.metrics import loss
from experiments.models import causal_lm_loss
from experiments.training import passes

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
}


def made(name: str, **about: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL | about)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():  # logits far from zero, so that a cap shows
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    drawn = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 61, (3, 9), generator=drawn)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=drawn) < 0.6, -100)
    mask = torch.ones_like(ids)
    mask[1, 6:], labels[1, 6:] = 0, -100
    return {"input_ids": ids, "attention_mask": mask}, labels


def from_logits(model: Any) -> torch.Tensor:
    inputs, labels = batch()
    logits = model(**inputs).logits[:, :-1].flatten(0, 1).float()
    following = labels[:, 1:].flatten()
    found = functional.cross_entropy(logits, following, reduction="none")
    return found[following != -100]


def check(model: Any, *, without_logits: bool = True) -> Any:
    """Compare value and gradients; return the outputs of the measured pass."""
    inputs, labels = batch()
    measure = causal_lm_loss.of(model)
    assert (measure.reason is None) == without_logits, measure.reason
    trained = [p for p in model.parameters() if p.requires_grad]
    theirs = from_logits(model)
    mine, outputs = measure(model, inputs, labels)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(theirs.sum(), trained, allow_unused=True)
    found = torch.autograd.grad(mine.sum(), trained, allow_unused=True)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    return outputs


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("Qwen3", {}),
        ("Qwen3", {"tie_word_embeddings": True}),
        ("Gemma2", {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}),
        ("Cohere", {"logit_scale": 0.4}),
        ("Granite", {"logits_scaling": 3.0}),
        ("Phi", {"num_key_value_heads": 2}),
    ],
)
def test_the_loss_of_a_model_is_that_of_its_logits(name: str, about: dict[str, Any]) -> None:
    model = made(name, **about)
    outputs = check(model)
    assert outputs.logits.shape == (3, 1, 61)
    assert model(**batch()[0]).logits.shape == (3, 9, 61)  # nothing stays behind


@pytest.mark.parametrize("extra", [{}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_and_a_trained_head_get_their_gradients(extra: dict[str, Any]) -> None:
    config = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=2, **extra)
    model = peft.get_peft_model(made("Qwen3"), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    check(model)
    with model.disable_adapter(), torch.no_grad():
        inputs, labels = batch()
        mine, _ = causal_lm_loss.of(model)(model, inputs, labels)
        torch.testing.assert_close(mine, from_logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("Qwen3", {}),
        ("Qwen3", {"tie_word_embeddings": True}),
        ("Gemma2", {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}),
        ("Granite", {"logits_scaling": 3.0}),
    ],
)
def test_an_adapter_on_the_head_takes_part_without_the_logits(
    name: str, about: dict[str, Any]
) -> None:
    config = peft.LoraConfig(target_modules=["q_proj", "lm_head"], r=2, init_lora_weights=False)
    model = peft.get_peft_model(made(name, **about), config)
    outputs = check(model)
    assert outputs.logits.shape == (3, 1, 61)
    with model.disable_adapter(), torch.no_grad():
        inputs, labels = batch()
        mine, _ = causal_lm_loss.of(model)(model, inputs, labels)
        torch.testing.assert_close(mine, from_logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extra", [{"use_dora": True}, {"lora_bias": True}])
def test_an_adapter_on_the_head_that_is_no_sum_of_two_matrices_is_measured_from_the_logits(
    extra: dict[str, Any],
) -> None:
    config = peft.LoraConfig(target_modules=["lm_head"], r=2, init_lora_weights=False, **extra)
    model = peft.get_peft_model(made("Phi", num_key_value_heads=2), config)
    outputs = check(model, without_logits=False)
    assert outputs.logits.shape == (3, 9, 61)
    assert "not a plain linear layer (peft's Linear)" in str(causal_lm_loss.of(model).reason)


def test_what_a_model_does_to_its_logits_unknown_to_us_is_noticed() -> None:
    class Louder(transformers.Qwen3ForCausalLM):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            outputs = super().forward(*args, **kwargs)
            outputs.logits = 10 * torch.tanh(outputs.logits / 10)
            return outputs

    torch.manual_seed(0)
    model = Louder(transformers.Qwen3Config(**SMALL, initializer_range=0.4))
    check(model, without_logits=False)
    assert "in an unsupported way" in str(causal_lm_loss.of(model).reason)


def test_a_model_that_goes_past_its_head_is_noticed() -> None:
    class Past(transformers.Qwen3ForCausalLM):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            hidden = self.model(*args, **kwargs).last_hidden_state
            logits = functional.linear(hidden, self.lm_head.weight)
            return transformers.modeling_outputs.CausalLMOutput(logits=logits)

    torch.manual_seed(0)
    model = Past(transformers.Qwen3Config(**SMALL))
    check(model, without_logits=False)
    assert "does not call the output layer" in str(causal_lm_loss.of(model).reason)


def test_half_precision_with_and_without_autocast_agrees_with_the_logits() -> None:
    inputs, labels = batch()
    for model, context in (
        (made("Qwen3").bfloat16(), torch.autocast("cpu", enabled=False)),
        (made("Qwen3"), torch.autocast("cpu", dtype=torch.bfloat16)),
    ):
        with context, torch.no_grad():
            measure = causal_lm_loss.of(model)
            assert measure.reason is None, measure.reason
            mine, _ = measure(model, inputs, labels)
            torch.testing.assert_close(mine, from_logits(model), rtol=2e-2, atol=5e-2)


def test_looking_at_a_model_leaves_it_in_training_mode() -> None:
    model = made("Qwen3").train()
    causal_lm_loss.of(model)
    assert model.training


@pytest.mark.parametrize("name", ["Qwen3", "Qwen3Moe"])
@pytest.mark.parametrize("tokens", [None, 40])
def test_a_pass_of_training_has_the_loss_that_trl_gives_it(
    tmp_path: Path, name: str, tokens: int | None
) -> None:
    from trl import SFTConfig, SFTTrainer

    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    model = made(name, **(experts if name == "Qwen3Moe" else {}))
    inputs, labels = batch()
    rows = {"input_ids": inputs["input_ids"].tolist(), "labels": labels.tolist()}
    arguments = SFTConfig(
        str(tmp_path),
        use_cpu=True,
        bf16=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        per_device_train_batch_size=3,
        activation_checkpointing=False,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(models.BASES / "tiny")
    trainer = SFTTrainer(
        model, arguments, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer
    )
    trainer.current_gradient_accumulation_steps = 2
    given = inputs | {"labels": labels}
    theirs = trainer.compute_loss(
        model, dict(given), num_items_in_batch=None if tokens is None else torch.tensor(tokens)
    )
    passes.choose_loss(trainer)
    if tokens is None:
        trainer.current_gradient_accumulation_steps = 1  # as TRL weighs experts without a count
    mine = passes.part_of_loss(trainer, model, given, tokens)
    assert trainer.measure.reason is None
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)


@dataclasses.dataclass
class Row:
    input_ids: list[int]
    labels: list[int]


@pytest.mark.parametrize("fitting", [2, 0])
def test_evaluation_halves_its_batches_and_gives_up_at_one_row(fitting: int) -> None:
    model = made("Qwen3")
    ids = torch.randint(1, 61, (6, 9), generator=torch.Generator().manual_seed(2)).tolist()
    rows = [Row(one, [-100, *one[1:]]) for one in ids]
    wanted = loss.token_losses(model, rows)
    seen: list[int] = []

    def full(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        count, width = kwargs["input_ids"].shape
        if width == 9:  # not the look at the model
            seen.append(count)
            if count > fitting:
                raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full, with_kwargs=True)
    if not fitting:
        with pytest.raises(torch.OutOfMemoryError):
            loss.token_losses(model, rows)
        assert seen == [6, 3, 1]
        return
    found = loss.token_losses(model, rows)
    assert seen == [6, 3, 1, 1, 1, 1, 1, 1]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
