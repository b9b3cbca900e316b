"""Errors that a user can act on, each a sentence with the value, its key and what is allowed.

They also inherit from the built-in error that they replace, so that ``except ValueError`` keeps
working, and they have no ``__init__``, so that they can be pickled between processes.
"""

import difflib
from collections.abc import Iterable


class ExperimentError(Exception):
    """Base class of errors whose message is for the user and is shown without a traceback."""


class ConfigError(ExperimentError, ValueError):
    """A value or key of the config is wrong; raised before anything heavy is loaded."""


class DataError(ExperimentError, ValueError):
    """A dataset is missing, unreadable, empty or has no tokens to train on."""


class AdapterError(ExperimentError, ValueError):
    """The LoRA config does not fit the model."""


class TrainingError(ExperimentError, RuntimeError):
    """Training cannot continue, for example because the loss is no longer finite."""

    step: int | None = None
    """The optimiser step at which it happened."""


class Pruned(ExperimentError):
    """A run was pruned because other runs are better; its status is `pruned`, not `failed`."""


class OutOfBudget(ExperimentError):
    """The time budget `budget.hours` is spent; rerun the same command to resume."""

    step: int | None = None
    """The optimiser step of the saved checkpoint, if it happened during training."""


class RecordError(ExperimentError, RuntimeError):
    """A record cannot be written, read or trusted."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the end of an error sentence: the allowed words, preceded by the most similar one.

    >>> did_you_mean("al_linear", ["all_linear", "qv"])
    "did you mean 'all_linear'? Allowed: all_linear, qv"
    """
    words = [str(word) for word in allowed]
    near = difflib.get_close_matches(given, words, n=1, cutoff=0.5)
    listing = "Allowed: " + ", ".join(words)
    return f"did you mean '{near[0]}'? {listing}" if near else listing
