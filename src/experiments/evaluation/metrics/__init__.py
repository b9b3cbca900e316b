"""Find metrics by file name: `eval.metrics=[calls]` applies `metrics/calls.py`."""

from experiments.evaluation.metric_files import Item, direction, load, names

__all__ = ["Item", "direction", "load", "names"]
