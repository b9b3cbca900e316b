"""Claims of others in, verdicts out: supported, contradicted, undecided or not tested.

A claim is a file of `claims/`: the sentence, its source, the sweep that tests it, the number
that is estimated, the margin and the gates, all written down before the runs. The verdict carries
the hash of that file, the effect with its interval, the scope it holds in, and what is missing.

In the order of the flow: `claim` and `files` (YAML to `Claim`), `kinds` (which estimator: a file
each, with `sides` for the arms and `case` for what they share), `gates` (was the setting the
claim's own), `verdicts` (the family, the word and what is missing), `table` (text and files).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.analysis.claims import measured
from experiments.analysis.claims.claim import Claim
from experiments.analysis.claims.files import load
from experiments.analysis.claims.verdicts import Verdict, judge
from experiments.records import Record, archive

__all__ = ["Claim", "Verdict", "judge", "load", "measured_for", "runs_of"]


def runs_of(claims: Sequence[Claim], outputs: Path) -> dict[str, list[Record]]:
    """Return sweep -> its records: those of outputs/SWEEP, or of its committed report.

    They are not mixed: another version or another machine makes other runs, and a report that
    came with the project is of no use to someone who has their own.

    Raises:
        RecordError: a record is newer than this program.
    """
    sweeps = dict.fromkeys(claim.sweep for claim in claims if claim.sweep)
    return {name: _own(outputs / name) or _committed(outputs, name) for name in sweeps}


def _own(folder: Path) -> list[Record]:
    """Return the records of a sweep's folder; none where no run of it has ended yet."""
    found = archive.read_all(folder)
    return found if any(record.status == "finished" for record in found) else []


def _committed(outputs: Path, name: str) -> list[Record]:
    return archive.read_all(outputs / "reports" / name)


def measured_for(claims: Sequence[Claim], outputs: Path) -> dict[str, dict[str, Any]]:
    """Return name -> what was measured under it, for the claims that need such a number."""
    names = dict.fromkeys(claim.measured for claim in claims if claim.measured)
    return {name: measured.read(name, outputs) for name in names}
