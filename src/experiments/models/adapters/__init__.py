"""Attach LoRA adapters to a model through PEFT, and refuse targets that match nothing."""

from experiments.models.adapters.attaching import (
    Attached,
    adapted_modules,
    attach,
    check_extra,
    fingerprint,
    load,
    save,
)
from experiments.models.adapters.output_layer import merged
from experiments.models.adapters.targets import check_targets, left_out

__all__ = [
    "Attached",
    "adapted_modules",
    "attach",
    "check_extra",
    "check_targets",
    "fingerprint",
    "left_out",
    "load",
    "merged",
    "save",
]
