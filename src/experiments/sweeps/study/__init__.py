"""A persistent hyperparameter search: ask for trials, report their results, resume later."""

from experiments.sweeps.study.settings import Asked, Settings
from experiments.sweeps.study.study import Study

__all__ = ["Asked", "Settings", "Study"]
