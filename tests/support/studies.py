"""A small study on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.sweeps.study import Settings, Study
from experiments.sweeps.study.space import Axis, Choice, Integers, Reals

SPACE: dict[str, Axis] = {
    "lora": Choice(("qv", "mlp"), ("qv", "mlp")),
    "lora.r": Integers(1, 16),
    "trainer.learning_rate": Reals(1e-4, 1e-1, log=True),
}


LOSS: Mapping[str, Any] = {"validation/loss/nll": "minimize"}


def study(folder: Path, **changes: Any) -> Study:
    values: dict[str, Any] = {
        "sweep_dir": folder, "name": "s", "space": SPACE, "objectives": LOSS, "n_trials": 6,
    }  # fmt: skip
    return Study(Settings(**values | changes))
