"""Choose the score by which a run is judged (its objective)."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from experiments.config import EvalConfig
from experiments.errors import ConfigError, did_you_mean
from experiments.evaluation import metrics
from experiments.runs.run_folders import Job

DEFAULT = "validation/loss/nll"


def refuse_unknown(spec: EvalConfig, job: Job, known: Collection[str]) -> None:
    """Refuse an objective that is not a known score, before training starts.

    Raises:
        ConfigError: the objective is unknown.
    """
    for key, name in _requested_objectives(spec, job):
        if name not in known:
            raise ConfigError(f"{key}={name}: no such score; {did_you_mean(name, known)}.")


def _requested_objectives(spec: EvalConfig, job: Job) -> Iterator[tuple[str, str]]:
    if spec.objective is not None:
        yield "eval.objective", spec.objective
    for name in job.objectives:
        yield "hydra.sweeper.objectives", name


def value(spec: EvalConfig, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return the objective's name, direction and value; empty if nothing was scored.

    Raises:
        ConfigError: the objective is not among the scores.
    """
    name = spec.objective
    if name is None:
        name = DEFAULT if DEFAULT in scores else "loss/nll"
    if name not in scores:
        if spec.objective is None:
            return {}
        raise ConfigError(f"eval.objective={name}: it is not among {', '.join(scores)}.")
    direction = spec.direction or metrics.direction(name)
    return {"name": name, "direction": direction, "value": scores[name]}
