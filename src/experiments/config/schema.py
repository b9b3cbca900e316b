"""The schema of a run: one dataclass per config group, each in its own file with its range checks.

YAML holds values; the string under a field is its only documentation.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from experiments.config.data import DataConfig
from experiments.config.evaluation import EvalConfig
from experiments.config.lora import LoraConfig
from experiments.config.machine import HardwareConfig, TrackerConfig
from experiments.config.model import ModelConfig
from experiments.config.planning import PlanConfig
from experiments.config.runtime import BudgetConfig, HubConfig, source_problems
from experiments.config.trainer import TrainerConfig
from experiments.errors import ConfigError


@dataclass
class RunConfig:
    """Everything that describes one run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    hub: HubConfig = field(default_factory=HubConfig)
    seed: int = 0
    """Seed of LoRA's initial weights and of the order of the rows."""
    name: str | None = None
    """A name for people; no part of the run's identity."""
    resume: bool = True
    """Continue a half-written run from its last checkpoint; false starts it again beside it."""
    resume_from: str | None = None
    """Folder (it may be read-only) or `hf://owner/name` with the outputs of an earlier runtime;
    its records, adapters and checkpoints of these runs are copied here before anything begins."""
    rerun: bool = False
    """Train a finished run again, in a new folder."""
    retry_oom: bool = False
    """Try a run again that ran out of memory; the others that failed are tried again anyway."""
    sweeps: Any = None
    """Taken by the file of `sweeps=NAME`; holds nothing itself."""
    resolved_from: dict[str, str] = field(default_factory=dict)
    """Filled by `load`: where each value came from that was null."""

    def __post_init__(self) -> None:
        """Report every illegal value of every group in one error."""
        groups = (getattr(self, f.name) for f in dataclasses.fields(self))
        found = [
            text for group in groups if hasattr(group, "problems") for text in group.problems()
        ]
        if not 0 <= self.seed < 2**32:
            found.append(f"seed={self.seed}: must be from 0 to {2**32 - 1}")
        found += source_problems(self.resume_from)
        if self.sweeps is not None:
            found.append(f"sweeps={self.sweeps}: a sweep file may not put values under `sweeps`")
        if found:
            raise ConfigError("; ".join(found) + ".")
