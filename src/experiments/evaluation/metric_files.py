"""Find metrics by file name: `eval.metrics=[calls]` applies `metrics/calls.py`.

A metric is a module with

- `DIRECTION`: maps each score name to "maximize" or "minimize";
- `score(item)`: maps the names of the scores that apply to this item to their values; those in
  `COLUMNS` of `reports/scores.py` are between 0 and 1.

The score of a split is the mean over the items to which it applies.
"""

import functools
import importlib
import itertools
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.errors import ConfigError, did_you_mean
from experiments.toolcalls.parser import (
    HERMES_TAGS,
    Answer,
    CallForm,
    offered,
    parse_tolerant,
    tool_names,
)

_FOLDER = Path(__file__).parent / "metrics"


@dataclass(frozen=True)
class Item:
    """One test row with the model's answer."""

    row: dict[str, Any]
    answer: Answer
    stopped: bool
    """Whether the model ended its turn itself, before `eval.max_new_tokens`."""
    new_tokens: int
    text: str = ""
    """The generated answer without its end token."""
    form: CallForm = HERMES_TAGS
    """The format in which the model's template writes calls."""

    @functools.cached_property
    def tolerant(self) -> Answer:
        """The answer as a tolerant parser reads it."""
        names = tool_names(self.row)
        return parse_tolerant(self.text, names, self.form, offered(self.row))


def names() -> list[str]:
    """Return the names of the metrics, which are the files in `evaluation/metrics`."""
    return sorted(module.name for module in pkgutil.iter_modules([str(_FOLDER)]))


def load(name: str) -> ModuleType:
    """Import one metric.

    Raises:
        ConfigError: there is no such file.
    """
    if name not in names():
        raise ConfigError(f"eval.metrics contains '{name}': {did_you_mean(name, names())}.")
    return importlib.import_module(f"experiments.evaluation.metrics.{name}")


def direction(score: str) -> str | None:
    """Return "minimize" or "maximize" for a score such as `validation/loss/nll`, None if unknown.

    >>> direction("unseen_tools/calls/exact/parallel")
    'maximize'
    """
    parts = score.split("/")
    for metric, key in itertools.pairwise(parts):
        if metric in names():
            declared: str | None = load(metric).DIRECTION.get(key)
            return declared
    return None
