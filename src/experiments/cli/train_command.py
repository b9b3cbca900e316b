"""`train`: train and evaluate one run, or with -m a sweep of them; Hydra reads the arguments.

`python train.py`, `python -m experiments train` and `lora-experiments train` all start here.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments import config
from experiments.config import choices, folders
from experiments.sweeps import rollback, sweep_files
from experiments.sweeps.hydra import current_job
from experiments.sweeps.launching import roles

_CONFIG_PATH = ("-cp", "--config-path")


def start(program: str, arguments: Sequence[str]) -> None:
    """Run the command.

    Args:
        program: the command as the user types it, for the line that resumes a run.
        arguments: Hydra's arguments and options.
    """
    with config.one_sentence_errors():
        config.refuse_in_arguments(arguments)
        sys.argv = [program, *choices.quoted(_absolute(arguments))]
        main = hydra.main(version_base="1.3", config_path=str(folders.conf()), config_name="config")
        roles.run(main(run_job))


def run_job(cfg: DictConfig) -> float | list[float] | None:
    """Return the run's objective, which is all a sweeper ever sees of a run."""
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:  # a sweeper collects the errors of its jobs
        return current_job.execute(cfg, job)
    with config.one_sentence_errors(), rollback.run_folder(Path(job.runtime.output_dir)):
        sweep_files.refuse_without_multirun(cfg, job)
        return current_job.execute(cfg, job)


def _absolute(arguments: Sequence[str]) -> list[str]:
    """Make a relative `--config-path` absolute, which Hydra would look for in this package."""
    absolute = list(arguments)
    for index, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in _CONFIG_PATH and separator:
            absolute[index] = f"{name}={_path(value)}"
        elif name in _CONFIG_PATH and index + 1 < len(arguments):
            absolute[index + 1] = _path(arguments[index + 1])
    return absolute


def _path(path: str) -> str:
    return path if path.startswith("pkg://") else os.path.abspath(path)
