"""Convert Hydra's description of a job to a `runs.Job`, and run it."""

import dataclasses
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from experiments import runs
from experiments.config import RunConfig, choices
from experiments.runs import Job, Outcome
from experiments.runtime import budget, placement
from experiments.sweeps.study import specs
from experiments.sweeps.study.reporting import Trial


def run_one(run: RunConfig, hydra: Any) -> Outcome:
    """Execute the run of a job; raises the same errors as `runs.run_one`."""
    placement.see_one_gpu()  # before torch is imported
    job = from_hydra(hydra)
    words = tuple(choices.plain(job.overrides, run))
    return runs.run_one(run, dataclasses.replace(job, overrides=words))


def from_hydra(hydra: Any) -> Job:
    """Return the job of a run (its folder, sweep and trial) from the config's `hydra` node."""
    many = hydra.mode == RunMode.MULTIRUN
    named = any(text.startswith("hydra.run.dir=") for text in hydra.overrides.hydra)
    folder, sweeper = Path(hydra.runtime.output_dir), hydra.sweeper
    trial = None
    if many and sweeper.get("trial") is not None:
        sweep_dir = Path(hydra.runtime.cwd) / hydra.sweep.dir
        spec = sweeper.get("pruner")
        trial = Trial(
            sweep_dir,
            int(sweeper.trial),
            sweeper.get("study_name") or sweep_dir.resolve().name,
            sweeper.get("storage"),
            specs.pruner(spec and dict(spec)),
        )
    return Job(
        folder,
        find_siblings=many or not named,
        number=hydra.job.num if many else None,
        overrides=tuple(hydra.overrides.task),
        objectives=tuple(sweeper.get("objectives") or ()) if many else (),
        stop_rule=trial,
        began=budget.process_began(),
    )
