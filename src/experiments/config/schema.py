"""Schema of a run: one dataclass per config group, each in its own file with its range checks.

YAML files contain values only; each field is documented by the string below it.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from experiments.config.budget_and_hub import BudgetConfig, HubConfig, source_problems
from experiments.config.data_config import DataConfig
from experiments.config.eval_config import EvalConfig
from experiments.config.hardware_and_tracker import HardwareConfig, TrackerConfig
from experiments.config.lora_config import LoraConfig
from experiments.config.model_config import ModelConfig
from experiments.config.plan_config import PlanConfig
from experiments.config.trainer_config import TrainerConfig
from experiments.errors import ConfigError


@dataclass
class RunConfig:
    """The complete description of one run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    hub: HubConfig = field(default_factory=HubConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    seed: int = 0
    """Seed of LoRA's initial weights and of the order of the rows."""
    name: str | None = None
    """A label for readers; not part of the run's id."""
    resume: bool = True
    """Resume an unfinished run from its last checkpoint; false starts it again in a new folder."""
    resume_from: str | None = None
    """Folder (it may be read-only) or `hf://owner/name` with the outputs of an earlier runtime. The
    records, adapters and checkpoints of the runs to execute are copied from it before anything
    starts."""
    rerun: bool = False
    """Train a finished run again, in a new folder."""
    retry_oom: bool = False
    """Retry a run that ran out of memory; runs that failed for other reasons are always retried."""
    rank: int | None = None
    """Set by the files of the group `rank=NAME`; `load` moves it to `lora.r`."""
    lr: float | None = None
    """Set by the files of the group `lr=NAME`; `load` moves it to `trainer.learning_rate`."""
    sweeps: Any = None
    """Reserved for the config group `sweeps=NAME`, whose file may not set values here."""
    resolved_from: dict[str, str] = field(default_factory=dict)
    """Filled by `load`: the origin of each value that was null."""

    def __post_init__(self) -> None:
        """Report every illegal value of every group in one error."""
        groups = (getattr(self, f.name) for f in dataclasses.fields(self))
        problems = [
            problem
            for group in groups
            if hasattr(group, "problems")
            for problem in group.problems()
        ]
        if not 0 <= self.seed < 2**32:
            problems.append(f"seed={self.seed}: must be from 0 to {2**32 - 1}")
        problems += source_problems(self.resume_from)
        if self.sweeps is not None:
            problems.append(
                f"sweeps={self.sweeps}: a sweep file must not set values under `sweeps`"
            )
        if problems:
            raise ConfigError("; ".join(problems) + ".")
