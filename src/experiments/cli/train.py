"""`train`: train and evaluate one run, or with -m a sweep of them; Hydra reads the arguments.

`python train.py`, `python -m experiments train` and `lora-experiments train` all start here.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments import config
from experiments.config import choices, folders
from experiments.errors import ConfigError
from experiments.sweeps.launching import roles, unbegun

_CONFIG_PATH = ("-cp", "--config-path")


def start(program: str, words: Sequence[str]) -> None:
    """Run the command.

    Args:
        program: the command as the user types it, for the line that resumes a run.
        words: Hydra's arguments and options.
    """
    with config.one_sentence_errors():
        config.refuse_in_arguments(words)
        sys.argv = [program, *choices.quoted(_absolute(words))]
        main = hydra.main(version_base="1.3", config_path=str(folders.conf()), config_name="config")
        roles.lead_or_follow(main(run_job))


def run_job(cfg: DictConfig) -> float | list[float] | None:
    """Return the run's objective, which is all a sweeper ever sees of a run."""
    job = HydraConfig.get()
    many = job.mode == RunMode.MULTIRUN
    with nullcontext() if many else config.one_sentence_errors():  # a sweeper collects its errors
        if not many and job.sweeper.params:
            raise ConfigError("sweeps=... describes many runs: add -m (--multirun).")
        with nullcontext() if many else unbegun.run(Path(job.runtime.output_dir)):
            run = config.load(cfg)  # typed and checked before torch is imported
            from experiments.sweeps.hydra.job import run_one

            return run_one(run, job).answer


def _absolute(words: Sequence[str]) -> list[str]:
    """Make a relative `--config-path` absolute, which Hydra would look for in this package."""
    found = list(words)
    for at, word in enumerate(words):
        name, given, value = word.partition("=")
        if name in _CONFIG_PATH and given:
            found[at] = f"{name}={_path(value)}"
        elif name in _CONFIG_PATH and at + 1 < len(words):
            found[at + 1] = _path(words[at + 1])
    return found


def _path(given: str) -> str:
    return given if given.startswith("pkg://") else os.path.abspath(given)
