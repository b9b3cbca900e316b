"""Train one run with TRL's SFTTrainer, with a fixed row order and exact resume."""

from experiments.training.arguments import check_extra
from experiments.training.checkpoints import CHECKPOINTS, newest_checkpoint
from experiments.training.curves import curve
from experiments.training.sft import fit
from experiments.training.steps import StepPlan, fitting, plan, row_order
from experiments.training.task import Fit, Log, Report, Task

__all__ = [
    "CHECKPOINTS",
    "Fit",
    "Log",
    "Report",
    "StepPlan",
    "Task",
    "check_extra",
    "curve",
    "fit",
    "fitting",
    "newest_checkpoint",
    "plan",
    "row_order",
]
