"""Train and evaluate one run, or a sweep of them.

python train.py lora=all_linear data=mixed
python train.py -m lora=all_linear,qv seed=0,1,2
"""

from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments import config
from experiments.errors import ConfigError


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Return the run's objective, which is all a sweeper ever sees of a run."""
    job = HydraConfig.get()
    many = job.mode == RunMode.MULTIRUN
    with nullcontext() if many else config.one_sentence_errors():  # a sweeper collects its errors
        if not many and job.sweeper.params:
            raise ConfigError("sweeps=... describes many runs: add -m (--multirun).")
        run = config.load(cfg)  # typed and checked before torch is imported
        from experiments import runs

        folder = Path(job.runtime.output_dir)
        named = any(text.startswith("hydra.run.dir=") for text in job.overrides.hydra)
        number = job.job.num if many else None
        where = runs.Job(folder, many or not named, number, tuple(job.overrides.task))
        return runs.run_one(run, where).objective


if __name__ == "__main__":
    with config.one_sentence_errors():
        main()
