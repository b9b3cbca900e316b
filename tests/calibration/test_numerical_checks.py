"""Claims that are computed, not estimated: what keeps training the same, and what it costs."""

import json
from pathlib import Path

import pytest

from experiments.calibration import numerical_checks
from experiments.calibration.numerical_checks import Setting, largest_difference


def test_training_does_not_change_under_an_equivalent_parametrisation() -> None:
    assert largest_difference(Setting(), steps=8) < 1e-13


@pytest.mark.parametrize(
    "setting",
    [Setting(epsilon=1e-8), Setting(weight_decay=0.01), Setting(max_grad_norm=0.1)],
    ids=["epsilon", "weight decay", "clipping"],
)
def test_what_is_not_plain_adam_breaks_the_invariance(setting: Setting) -> None:
    assert largest_difference(setting, steps=4) > 1e-8


def test_counted_operations_are_those_of_the_formulas_and_are_written(tmp_path: Path) -> None:
    numerical_checks.main(["flops", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "flops.json").read_text(encoding="utf-8"))
    assert set(found["values"]["counted_over_formula"]) == {1.0}
    shares = found["setting"]["lora_over_full"]
    assert shares["128 x 128"] == pytest.approx(2 / 3 + 2 * 16 / 128)  # 2/3 + 2R/N
    assert (
        found["provenance"]["command"] == "python -m experiments.calibration.numerical_checks flops"
    )
    assert {"git_commit", "cpu", "seconds", "libraries"} <= set(found["provenance"])
