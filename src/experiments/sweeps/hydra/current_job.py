"""Convert Hydra's description of the current job to a `runs.Job`, and execute its run.

The modules of a run are imported after its config is accepted: errors are reported quickly.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.config import choices
from experiments.runtime import budget, placement
from experiments.sweeps import checked_run

if TYPE_CHECKING:
    from experiments.runs import Job


def execute(cfg: DictConfig, hydra: Any) -> float | list[float] | None:
    """Execute the run of a job and return what the sweeper receives.

    Args:
        cfg: the composed config, without its `hydra` node.
        hydra: that node.

    Raises:
        ExperimentError: the config is invalid, or as `runs.run_one`.
    """
    run = checked_run.load(cfg)
    placement.see_one_gpu()  # before torch is imported
    from experiments import runs

    job = from_hydra(hydra)
    overrides = tuple(choices.plain(job.overrides, run))
    return runs.run_one(run, dataclasses.replace(job, overrides=overrides)).answer


def from_hydra(hydra: Any) -> "Job":
    """Return the job of a run (its folder, sweep and trial) from the config's `hydra` node."""
    from experiments.runs import Job
    from experiments.sweeps.study import specs
    from experiments.sweeps.study.reporting import Trial

    multirun = hydra.mode == RunMode.MULTIRUN
    has_own_folder = any(
        override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra
    )
    folder, sweeper = Path(hydra.runtime.output_dir), hydra.sweeper
    trial = None
    if multirun and sweeper.get("trial") is not None:
        sweep_dir = Path(hydra.runtime.cwd) / hydra.sweep.dir
        pruner_spec = sweeper.get("pruner")
        trial = Trial(
            sweep_dir,
            int(sweeper.trial),
            sweeper.get("study_name") or sweep_dir.resolve().name,
            sweeper.get("storage"),
            specs.pruner(pruner_spec and dict(pruner_spec)),
        )
    return Job(
        folder,
        find_siblings=multirun or not has_own_folder,
        number=hydra.job.num if multirun else None,
        overrides=tuple(hydra.overrides.task),
        objectives=tuple(sweeper.get("objectives") or ()) if multirun else (),
        stop_rule=trial,
        began=budget.process_began(),
    )
