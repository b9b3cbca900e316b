"""Read and write how the arms of a tuned sweep are compared, if its config sets it.

A sweep writes `hydra.sweeper.score` and `hydra.sweeper.margin` to a file in its folder. A report
keeps that file, so that a report regenerated from itself does not change.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.analysis.arms.contrasts import TESTED_ON
from experiments.errors import RecordError

FILE_NAME = "comparison.json"


@dataclass(frozen=True)
class ComparisonRule:
    """The score and margin by which the arms of a tuned sweep are compared."""

    score: str = TESTED_ON
    """Score on the test split."""
    margin: float | None = None
    """The largest negligible difference, in the unit of the score; None = only intervals."""


def read(folder: Path) -> ComparisonRule:
    """Return the comparison of a sweep or report folder, or the defaults without a file.

    Raises:
        RecordError: the file is invalid.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return ComparisonRule()
    try:
        return ComparisonRule(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"{file} is incomplete or damaged ({error}): rerun the sweep's command, which rewrites "
            "it, or rewrite the report from the sweep's folder."
        ) from error


def files(comparison: ComparisonRule) -> Iterator[tuple[str, bytes]]:
    """Yield the file for a report folder; nothing if the comparison is the default."""
    if comparison != ComparisonRule():
        yield FILE_NAME, text(comparison).encode()


def text(comparison: ComparisonRule) -> str:
    """Return the content of the file."""
    return json.dumps(dataclasses.asdict(comparison), indent=1) + "\n"
