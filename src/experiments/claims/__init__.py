"""Claims of others in, verdicts out: supported, contradicted, undecided or not tested.

A claim is a file of `conf/claims/`: the sentence, its source, the sweep that tests it, the number
that is estimated, the margin and the gates, all written down before the runs. The verdict carries
the hash of that file, the effect with its interval, the scope it holds in, and what is missing.

In the order of the flow: `files` (YAML to `Claim`), `gates` (was the setting the claim's own),
`verdicts` (records to a word), `table` (lines of text and files).
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.claims.files import Claim, load
from experiments.claims.verdicts import Verdict, judge
from experiments.records import Record
from experiments.report import archive

__all__ = ["Claim", "Verdict", "judge", "load", "runs_of"]


def runs_of(claims: Sequence[Claim], outputs: Path) -> dict[str, list[Record]]:
    """Return sweep -> its records: those of outputs/SWEEP and of its committed report.

    Raises:
        RecordError: a record is newer than this program.
    """
    sweeps = dict.fromkeys(claim.sweep for claim in claims if claim.sweep)
    places = {name: (outputs / name, outputs / "reports" / name) for name in sweeps}
    return {
        name: [r for folder in folders for r in archive.read_all(folder)]
        for name, folders in places.items()
    }
