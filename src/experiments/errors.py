"""The errors a user can act on, each one a sentence: what was given, where, what is allowed.

They also inherit the built-in error they replace, so that ``except ValueError`` keeps working, and
they have no ``__init__`` of their own, so that they survive pickling between processes.
"""

import difflib
from collections.abc import Iterable


class ExperimentError(Exception):
    """Base of every error whose message is meant for the user; it is shown without a traceback."""


class ConfigError(ExperimentError, ValueError):
    """A value or a key of the configuration is wrong; raised before anything heavy is loaded."""


class DataError(ExperimentError, ValueError):
    """A dataset is missing, unreadable, empty or would train on nothing."""


class AdapterError(ExperimentError, ValueError):
    """The LoRA description does not fit the model it is meant for."""


class TrainingError(ExperimentError, RuntimeError):
    """Training cannot go on, for example because the loss is no longer finite."""

    step: int | None = None
    """The optimiser step at which it happened."""


class Pruned(ExperimentError):
    """A run was stopped early because others do better; its record says `pruned`, no failure."""


class OutOfBudget(ExperimentError):
    """The time given with `budget.hours` is over; the same line goes on from what was saved."""

    step: int | None = None
    """The optimiser step of the checkpoint that was saved, if it happened while training."""


class RecordError(ExperimentError, RuntimeError):
    """A record cannot be written, read or trusted."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the end of an error sentence: the allowed words, nearest first if one is near.

    >>> did_you_mean("al_linear", ["all_linear", "qv"])
    "did you mean 'all_linear'? Allowed: all_linear, qv"
    """
    words = [str(word) for word in allowed]
    near = difflib.get_close_matches(given, words, n=1, cutoff=0.5)
    listing = "Allowed: " + ", ".join(words)
    return f"did you mean '{near[0]}'? {listing}" if near else listing
