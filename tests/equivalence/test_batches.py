"""Configs that must give one trajectory do so, step by step, on a tiny CPU model."""

from pathlib import Path

import pytest

from conftest import SMOKE, load
from experiments import runs
from experiments.runs import Job


def losses(folder: Path, *overrides: str) -> list[float]:
    few = ("eval.base=false", "eval.limit=1", "eval.loss_rows=1")
    run = load(*SMOKE, *few, "trainer.logging_steps=1", *overrides)
    return [p["loss"] for p in runs.run_one(run, Job(folder)).record.curve]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(tmp_path_factory.mktemp("ref") / "a", "trainer.micro_batch_size=4")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.micro_batch_size=1"],
        ["trainer.micro_batch_size=2"],
        ["trainer.micro_batch_size=4", "trainer.gradient_checkpointing=true"],
        ["trainer.micro_batch_size=4", "eval.batch_size=3"],
        ["trainer.micro_batch_size=4", "trainer.save_steps=3"],
    ],
)
def test_how_a_batch_is_cut_does_not_change_the_losses(
    tmp_path: Path, reference: list[float], overrides: list[str]
) -> None:
    found = losses(tmp_path / "a", *overrides)
    residuals = [a - b for a, b in zip(found, reference, strict=True)]
    # Sums of a few hundred fp32 terms in another order: 1e-7 relative each, losses near 3.
    assert max(map(abs, residuals)) < 2e-5
    assert abs(sum(residuals) / len(residuals)) < 1e-5


def test_the_loss_is_a_token_mean_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments import data, models
    from experiments.evaluation.metrics import loss

    run = load(*SMOKE, "hardware=cpu")
    base = models.load(run, models.choose_precision(run))
    rows = data.build(run, base.tokenizer, end_ids=base.end_ids, positions=base.positions).train
    one_by_one = [loss.token_nll(base.model, [row])[0] for row in rows]
    monkeypatch.setattr(loss, "TOKENS_PER_BATCH", 10_000)
    together = loss.token_nll(base.model, rows)
    assert [n for _, n in together] == [n for _, n in one_by_one]
    assert loss.mean_nll(together) == pytest.approx(loss.mean_nll(one_by_one), rel=1e-6)
