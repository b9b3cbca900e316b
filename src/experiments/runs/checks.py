"""Refuse a run for what can be known before its model and its data are loaded."""

from experiments import training
from experiments.config import RunConfig, inputs
from experiments.data import benchmark_files
from experiments.errors import ConfigError
from experiments.evaluation import metrics
from experiments.records import hub
from experiments.runtime import distributed


def check(run: RunConfig, *, planned: bool = False) -> None:
    """Check all settings that can be checked without loading the model or the data.

    Args:
        run: the run.
        planned: whether the run is only planned, perhaps for another machine, so that an installed
            package with the questions of a benchmark is not needed.

    Raises:
        ConfigError: a file or folder is missing, or a key of `lora.extra` or `trainer.extra`, a
            metric or an objective is unknown.
        DataError: the files of a benchmark are missing or not the known ones.
    """
    if problem := distributed.unsupported():
        raise ConfigError(f"{problem}.")
    inputs.check(run)
    for name in () if planned and run.eval.path is None else run.eval.benchmarks:
        benchmark_files.located_files(name, run.eval.path)
    batch, micro = run.trainer.batch_size, run.trainer.micro_batch_size
    assert batch and micro, "config.load resolves these"
    training.fitting(batch, micro, distributed.world_size())
    for name in run.eval.metrics:
        metrics.load(name)
    objective, direction = run.eval.objective, run.eval.direction
    if objective is not None and direction is None and metrics.direction(objective) is None:
        raise ConfigError(
            f"eval.objective={objective}: no metric declares its direction; set "
            "eval.direction=minimize or maximize."
        )
    if run.trainer.max_steps == 0 and run.model.adapter is None and not run.eval.base:
        raise ConfigError(
            "trainer.max_steps=0 with eval.base=false leaves nothing to score: name an adapter "
            "with model.adapter=DIR or set eval.base=true."
        )
    if run.hub.push:
        hub.check(run.hub)
    if run.lora.extra or run.trainer.extra:
        from experiments.models import adapters

        adapters.check_extra(run.lora)
        training.check_extra(run.trainer)


def refuse_wrong_targets(run: RunConfig) -> None:
    """Raise if a local model lacks the LoRA target modules, before anything is loaded."""
    if run.model.hub_id is None and run.model.adapter is None and run.trainer.max_steps != 0:
        from experiments import models
        from experiments.models import converted

        spec = run.model
        folder = converted.cached(spec) if spec.wheels is not None else models.find(spec)[0]
        if folder is not None:
            models.refuse_wrong_targets(run.lora, folder)
