"""A search on disk: ask for parameters, tell what came of them, resume where it was left."""

from experiments.sweeps.study.settings import Asked, Settings
from experiments.sweeps.study.study import Study

__all__ = ["Asked", "Settings", "Study"]
