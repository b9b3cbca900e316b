"""Inputs and results of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from experiments.data import TrainData
from experiments.evaluation.scoring import Losses
from experiments.models import Base

Report = Callable[[int, float, Sequence[float]], bool]
"""Called with (step, validation loss, validation loss of each row); returns whether to stop
early."""
Log = Callable[[dict[str, float], int], None]
"""Called with (scalars, step) to show them in the tracker."""

Saved = Callable[[Path], None]
"""Called with each checkpoint as soon as it is complete."""


@dataclass(frozen=True)
class Task:
    """The inputs of training."""

    run: RunConfig
    model: Any
    """The model with its adapter, or fully trainable; it is changed in place."""
    base: Base
    data: TrainData
    folder: Path
    """The run's folder, which contains its checkpoints."""
    report: Report
    log: Log
    oom_events: list[dict[str, Any]] = field(default_factory=list)
    """Filled during training with out-of-memory events (`step`, `micro_batch_size`, `before`)."""
    test_losses: dict[int, Losses] = field(default_factory=dict)
    """Filled during training with the test losses at the steps of `eval.test_steps`."""
    saved: Saved = lambda _: None


@dataclass
class Fit:
    """The results of training."""

    steps: int
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points with `step` and any of `loss`, `learning_rate`, `grad_norm`, `validation_nll`."""
    selected_step: int | None = None
    """The step whose weights are evaluated."""
    skipped_steps: list[int] = field(default_factory=list)
    """Steps skipped because their gradients overflowed in fp16."""
