"""What training needs and what it did."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from experiments.data import TrainData
from experiments.models import Base

Report = Callable[[int, float, Sequence[float]], bool]
"""(step, validation loss, the same for each row) -> whether to stop early."""
Log = Callable[[dict[str, float], int], None]
"""(scalars, step) -> shown in the tracker."""

Saved = Callable[[Path], None]
"""Is told of each checkpoint as soon as it is whole."""


@dataclass(frozen=True)
class Task:
    """Everything training needs."""

    run: RunConfig
    model: Any
    """With its adapter, or all of it trainable; it is changed in place."""
    base: Base
    data: TrainData
    folder: Path
    """The run's folder; checkpoints lie in it."""
    report: Report
    log: Log
    adapted: list[dict[str, Any]] = field(default_factory=list)
    """Filled while it trains: where memory ran out (`step`, `micro_batch_size`, `before`)."""
    saved: Saved = lambda _: None


@dataclass
class Fit:
    """What training did."""

    steps: int
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points with `step` and any of `loss`, `learning_rate`, `grad_norm`, `validation_nll`."""
    selected_step: int | None = None
    """The step whose weights are scored."""
    skipped_steps: list[int] = field(default_factory=list)
    """Steps whose gradients overflowed in fp16, so that they changed nothing."""
