"""A Hydra experiment framework for LoRA ablations on tool calling.

Importing the package imports no heavy library. `run`, `sweep`, `read_runs` and `report` are the
commands for Python and notebooks; they are loaded when they are first used.
"""

import os
from typing import TYPE_CHECKING, Any

from experiments import config as config  # registers the schema of a run with Hydra

# No library may send telemetry unless the user enables it. Each library reads its variable at
# import, so the variables are set here first.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if TYPE_CHECKING:
    from experiments.cli.python_calls import read_runs, report, run, sweep

__all__ = ["config", "read_runs", "report", "run", "sweep"]


def __getattr__(name: str) -> Any:
    if name in ("read_runs", "report", "run", "sweep"):
        from experiments.cli import python_calls

        return getattr(python_calls, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
