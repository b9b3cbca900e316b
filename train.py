"""Train and evaluate one run, or a sweep of them.

python train.py lora=all_linear data=mixed
python train.py -m lora=all_linear,qv seed=0,1,2
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments import config
from experiments.errors import ConfigError
from experiments.sweeps.launching import roles, unbegun


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | list[float] | None:
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


if __name__ == "__main__":
    with config.one_sentence_errors():
        config.refuse_in_arguments(sys.argv[1:])
        roles.run(main)
