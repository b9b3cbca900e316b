"""Turn a composed config into one typed, checked and resolved run; imports no heavy library."""

from experiments.config.budget_and_hub import BudgetConfig, HubConfig, hub_source, is_repo
from experiments.config.data_config import FORMATS, ColumnsConfig, DataConfig, SourceConfig
from experiments.config.eval_config import EvalConfig
from experiments.config.explaining import EXIT_OUT_OF_BUDGET, explain, one_sentence_errors
from experiments.config.geometry import GeometryConfig
from experiments.config.hardware_and_tracker import HardwareConfig
from experiments.config.hydra_compose import compose
from experiments.config.leaves import leaves
from experiments.config.loading import (
    EXECUTION_KEYS,
    canonical,
    default_of,
    load,
    run_id,
    without_nulls,
)
from experiments.config.lora_config import LoraConfig
from experiments.config.model_config import ModelConfig
from experiments.config.plan_config import PlanConfig
from experiments.config.schema import RunConfig
from experiments.config.tokens import holds_token, refuse_in_arguments
from experiments.config.trainer_config import TrainerConfig

__all__ = [
    "EXECUTION_KEYS",
    "EXIT_OUT_OF_BUDGET",
    "FORMATS",
    "BudgetConfig",
    "ColumnsConfig",
    "DataConfig",
    "EvalConfig",
    "GeometryConfig",
    "HardwareConfig",
    "HubConfig",
    "LoraConfig",
    "ModelConfig",
    "PlanConfig",
    "RunConfig",
    "SourceConfig",
    "TrainerConfig",
    "canonical",
    "compose",
    "default_of",
    "explain",
    "holds_token",
    "hub_source",
    "is_repo",
    "leaves",
    "load",
    "one_sentence_errors",
    "refuse_in_arguments",
    "run_id",
    "without_nulls",
]
