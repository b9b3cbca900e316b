"""Identify the code of a run in three parts: training, evaluation and scoring.

A training can be reused if the training code is the same, answers and losses if the evaluation code
is, and a metric's scores if its scoring code is. Config values are not part of these identities;
they are in the run's id.
"""

import functools
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.records.provenance.closure import Closure, within
from experiments.runtime import disk

SOURCE = Path(__file__).parents[2]
KEYS = ("training_code", "evaluation_code", "scoring_code")
"""The names of the parts in records."""

_MODEL_AND_ROWS = ("models.load", "models.choose_precision", "data.build", "models.adapters.load")
_TRAINING = (*_MODEL_AND_ROWS, "models.adapters.attach", "training.plan", "training.fit")
_EVALUATION = (
    *(*_MODEL_AND_ROWS, "evaluation.scoring.answer", "evaluation.shared.token_losses"),
    *("evaluation.row_losses.parts", "evaluation.held_out.read", "evaluation.held_out.windows"),
    "evaluation.held_out.losses",
)
_SCORING = (
    "evaluation.metrics.{}.score",
    "evaluation.metrics.Item",
    "evaluation.item_scores.score",
)
_METRICS = "evaluation/metrics"

# Modules that print, log, store or stop; they do not affect results.
_OUTSIDE = (
    *("errors", "runtime.progress", "runtime.budget", "records.run_record", "records.archive"),
    *("records.tracking", "records.hub", "reports", "sweeps.study"),
)
_SETTINGS = ("config",)
_WITHOUT = ("models/bases",)  # model files, which have a hash of their own


@functools.cache
def code_identity(source: Path = SOURCE) -> dict[str, Any]:
    """Return the identity of each part: one hash, and for scoring one hash per metric.

    It is computed once per process, because imported code does not change. The result is cached on
    disk for the same files, because reading all of them takes most of a second.
    """
    cache_file = _cache_file(source)
    try:
        identity: dict[str, Any] = json.loads(cache_file.read_text(encoding="ascii"))
        return identity
    except (OSError, ValueError):
        identity = _read(source)
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        partial = cache_file.with_name(f"{cache_file.name}.{os.getpid()}")
        partial.write_text(json.dumps(identity), encoding="ascii")
        partial.replace(cache_file)
    except OSError:  # it is computed again next time
        pass
    return identity


def of_metrics(identity: dict[str, Any], metrics: Iterable[str]) -> dict[str, Any]:
    """Return an identity with the scoring code of these metrics only."""
    scoring = identity["scoring_code"]
    return identity | {"scoring_code": {name: scoring[name] for name in sorted(metrics)}}


def _read(source: Path) -> dict[str, Any]:
    closure = Closure(source, outside=_OUTSIDE, settings=_SETTINGS, without=_WITHOUT)

    def part(entries: Iterable[str]) -> str:
        return closure.hash([f"{source.name}.{entry}" for entry in entries])

    files = (source / _METRICS).glob("*.py")
    metrics = sorted(file.stem for file in files if file.stem != "__init__")
    return {
        "training_code": part(_TRAINING),
        "evaluation_code": part(_EVALUATION),
        "scoring_code": {
            name: part(template.format(name) for template in _SCORING) for name in metrics
        },
    }


def _cache_file(source: Path) -> Path:
    """Return the path of the cached identity of these files, in the user's cache folder."""
    digest = hashlib.sha256(platform.python_version().encode())
    for file in sorted(source.rglob("*")):
        relative = file.relative_to(source)
        if file.is_file() and file.suffix != ".pyc" and not within(relative, _WITHOUT):
            digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return disk.user_cache() / "code" / f"{digest.hexdigest()}.json"
