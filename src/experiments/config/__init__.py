"""Turn a composed config into one typed, checked and resolved run; imports no heavy library."""

from experiments.config.composing import compose
from experiments.config.data import FORMATS, ColumnsConfig, DataConfig, SourceConfig
from experiments.config.evaluation import EvalConfig
from experiments.config.explaining import explain, one_sentence_errors
from experiments.config.geometry import GeometryConfig
from experiments.config.leaves import leaves
from experiments.config.loading import EXECUTION_KEYS, canonical, load, run_id, without_nulls
from experiments.config.lora import LoraConfig
from experiments.config.machine import HardwareConfig
from experiments.config.model import ModelConfig
from experiments.config.planning import PlanConfig
from experiments.config.runtime import BudgetConfig, HubConfig, hub_source, is_repo
from experiments.config.schema import RunConfig
from experiments.config.tokens import holds_token, refuse_in_arguments
from experiments.config.trainer import TrainerConfig

__all__ = [
    "EXECUTION_KEYS",
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
