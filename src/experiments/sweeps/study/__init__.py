"""A persistent hyperparameter search: ask for trials, report their results, resume later."""

from experiments.sweeps.study.optuna_study import Study
from experiments.sweeps.study.study_settings import Settings, StudyTrial

__all__ = ["Settings", "Study", "StudyTrial"]
