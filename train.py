"""Train and evaluate one run, or a sweep of them.

python train.py lora=all_linear data=mixed
python train.py -m lora=all_linear,qv seed=0,1,2
"""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments import config
from experiments.sweeps import rollback, sweep_files
from experiments.sweeps.hydra import current_job
from experiments.sweeps.launching import roles


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | list[float] | None:
    """Return the run's objective, which is all a sweeper ever sees of a run."""
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:  # a sweeper collects the errors of its jobs
        return current_job.execute(cfg, job)
    with config.one_sentence_errors(), rollback.run_folder(Path(job.runtime.output_dir)):
        sweep_files.refuse_without_multirun(cfg, job)
        return current_job.execute(cfg, job)


if __name__ == "__main__":
    with config.one_sentence_errors():
        config.refuse_in_arguments(sys.argv[1:])
        roles.lead_or_follow(main)
