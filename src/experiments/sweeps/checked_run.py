"""Pass the run that a sweep has composed and checked to the job that executes it.

Hydra gives a job's function nothing but the config, so the typed run travels beside it: in a
context variable, which the launchers set from the job for as long as it runs.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from omegaconf import DictConfig

from experiments import config
from experiments.config import RunConfig

_RUN: ContextVar[RunConfig | None] = ContextVar("checked run", default=None)


@contextlib.contextmanager
def passed_to_job(run: RunConfig | None) -> Iterator[None]:
    """Make `load` return this run for the duration of the block; None = load it from the config."""
    token = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(token)


def load(cfg: DictConfig) -> RunConfig:
    """Return the run that the sweep has checked; outside a sweep, load it from its config.

    Raises:
        ConfigError: there is no checked run, and the config is invalid.
    """
    run = _RUN.get()
    return config.load(cfg) if run is None else run
