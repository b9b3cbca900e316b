"""What the arms of a tuned sweep are compared by, where its file says so.

A sweep writes it (`hydra.sweeper.score` and `hydra.sweeper.margin`) into its folder, and a report
keeps it, so that one that is its own source comes out as it was.
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
class Comparison:
    """How the arms of a tuned sweep are compared."""

    score: str = TESTED_ON
    """Of the test split."""
    margin: float | None = None
    """The largest difference that does not matter, in the score's unit; None = a twentieth of what
    the reference gains over its base."""


def read(folder: Path) -> Comparison:
    """Return what a sweep or a report says; the defaults where it says nothing.

    Raises:
        RecordError: the file is not whole.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return Comparison()
    try:
        return Comparison(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"{file} is not whole ({error}): start the sweep again, which writes it, or write the "
            "report again from the sweep's folder."
        ) from error


def files(comparison: Comparison) -> Iterator[tuple[str, bytes]]:
    """Yield the file of a report that keeps it; none where it is the default."""
    if comparison != Comparison():
        yield FILE_NAME, text(comparison).encode()


def text(comparison: Comparison) -> str:
    """Return the content of the file."""
    return json.dumps(dataclasses.asdict(comparison), indent=1) + "\n"
