"""LoRA+ multiplies the learning rate of B, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import SMOKE, load
from experiments import data, models, training
from experiments.models import adapters, spectral_norms
from experiments.training import loraplus

ONE_STEP = (
    *("trainer.lr_scheduler_type=constant", "trainer.warmup_steps=0", "trainer.max_grad_norm=1e9"),
    *("trainer.learning_rate=0.01", "data.validation_rows=0", "lora=qv"),
)


def trained(folder: Path, *overrides: str) -> tuple[dict[str, Any], training.Fit, Any]:
    """Train, and return how far each parameter moved, what training did, and the model."""
    run = load(*SMOKE, "hardware=cpu", *ONE_STEP, *overrides)
    base = models.load(run, models.choose_precision(run))
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions)
    model = adapters.attach(run, base.model).model
    task = training.Task(run, model, base, rows, folder, lambda *_: False, lambda *_: None)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    made = training.fit(task)
    after = dict(model.named_parameters())
    return {name: after[name].detach() - old for name, old in before.items()}, made, model


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_first_step_moves_b_by_the_ratio_and_logs_the_rate_of_a(
    tmp_path: Path, decay: float
) -> None:
    first = ("trainer.optimizer=sgd", "trainer.max_steps=1", f"trainer.weight_decay={decay}")
    plain, _, _ = trained(tmp_path / "off", *first)
    raised, made, _ = trained(tmp_path / "plus", *first, "lora.loraplus_lr_ratio=16")
    for name, step in plain.items():
        assert torch.allclose(raised[name], step * (16 if "lora_B" in name else 1), rtol=1e-5), name
    assert any(step.any() for name, step in plain.items() if "lora_B" in name)
    assert made.curve[0]["learning_rate"] == 0.01


@pytest.mark.slow
def test_a_ratio_of_1_is_the_same_training(tmp_path: Path) -> None:
    plain, _, model = trained(tmp_path / "off", "trainer.max_steps=3")
    same, _, _ = trained(tmp_path / "one", "trainer.max_steps=3", "lora.loraplus_lr_ratio=1")
    assert all(torch.equal(same[name], step) for name, step in plain.items())
    facts = spectral_norms.of_trained(model)
    assert facts["trained_dtype"] == ["float32"]
    weights = model.state_dict()
    for module, (a, b) in facts["spectra"].items():
        for matrix, found in (("lora_A", a), ("lora_B", b)):
            weight = weights[f"base_model.model.{module}.{matrix}.default.weight"]
            assert found == pytest.approx(float(torch.linalg.matrix_norm(weight, ord=2)), rel=1e-5)
    assert len(facts["spectra"]) == 2 * model.config.num_hidden_layers


def test_the_adapters_of_linear_layers_get_the_rates_and_weight_decay_of_pefts_optimizer() -> None:
    from peft import LoraConfig, get_peft_model
    from peft.optimizers import create_loraplus_optimizer
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(models.BASES / "tiny_64")
    model = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear"))
    trained = [p for p in model.parameters() if p.requires_grad]
    own = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
    loraplus.scale_learning_rate_of_b(own, model, 4.0)
    pefts = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=4.0, loraplus_weight_decay=0.1
    )

    def settings(optimizer: torch.optim.Optimizer) -> dict[int, tuple[float, float]]:
        groups = optimizer.param_groups
        return {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}

    assert settings(own) == settings(pefts)
    assert len(settings(own)) == len(trained)
