"""Execute one run from its config to its record: claim a folder, train, score, write the record."""

from experiments.runs.checks import check, refuse_wrong_targets
from experiments.runs.execute import Outcome, run_as_other_process, run_one
from experiments.runs.finished import load_run
from experiments.runs.run_folders import Job

__all__ = [
    "Job",
    "Outcome",
    "check",
    "load_run",
    "refuse_wrong_targets",
    "run_as_other_process",
    "run_one",
]
