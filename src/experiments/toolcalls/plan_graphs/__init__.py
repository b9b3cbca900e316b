"""Compare the dependency graphs of a label plan and a predicted plan."""

from experiments.toolcalls.plan_graphs.comparison import (
    PlanVerdict,
    compare,
    edit_distance,
    graph_of,
)
from experiments.toolcalls.plan_graphs.plan_text import MAX_STEPS, PlanError, has_labels

__all__ = [
    "MAX_STEPS",
    "PlanError",
    "PlanVerdict",
    "compare",
    "edit_distance",
    "graph_of",
    "has_labels",
]
