"""One run from config to record: find or claim its folder, train, score, write it down."""

from experiments.runs.execute import Outcome, check, load_run, run_one
from experiments.runs.folders import Job
from experiments.runs.following import follow

__all__ = ["Job", "Outcome", "check", "follow", "load_run", "run_one"]
