"""Execute one run from its config to its record: claim a folder, train, score, write the record."""

from experiments.runs.execute import Outcome, check, load_run, refuse_wrong_targets, run_one
from experiments.runs.folders import Job
from experiments.runs.following import follow

__all__ = ["Job", "Outcome", "check", "follow", "load_run", "refuse_wrong_targets", "run_one"]
