"""Collect the run records and measurements that claims are judged by.

A claim is a file of `claims/`: the sentence, its source, the sweep that tests it, the estimated
quantity, the margin and the gates, all written before the runs. The verdict carries the hash of
that file, the effect with its interval, the scope for which it is valid, and what is missing.

Modules in the order of use: `claim` and `claim_files` (YAML to `Claim`), `design` (what was frozen
and when), `kinds` (the estimators, one file each, with `sides` for the arms and `case` for shared
parts), `gates` and `limits` (whether the setting was that of the claim), and `judging` (family,
verdict and what is missing).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.analysis.claims import measured
from experiments.analysis.claims.claim import Claim
from experiments.records import Record, archive


def runs_of(claims: Sequence[Claim], outputs: Path) -> dict[str, list[Record]]:
    """Return the records by sweep: those in outputs/SWEEP, or else those of the committed report.

    The two are never mixed, as another version or another machine produces different runs. A
    committed report is used only if the sweep has not been run locally.

    Raises:
        RecordError: a record is newer than this program.
    """
    sweeps = dict.fromkeys(name for claim in claims for name in _sweeps_of(claim))
    return {
        name: _local_records(outputs / name) or _committed_records(outputs, name) for name in sweeps
    }


def _sweeps_of(claim: Claim) -> list[str]:
    own = [claim.sweep] if claim.sweep else []
    return own + [str(place["sweep"]) for place in claim.cited]


def _local_records(folder: Path) -> list[Record]:
    """Return the records in a sweep's folder, or none if no run of it has finished."""
    records = archive.read_all(folder)
    return records if any(record.status == "finished" for record in records) else []


def _committed_records(outputs: Path, name: str) -> list[Record]:
    return archive.read_all(outputs / "reports" / name)


def measured_for(claims: Sequence[Claim], outputs: Path) -> dict[str, dict[str, Any]]:
    """Return measurements by name, for the claims that need one."""
    names = dict.fromkeys(claim.measured for claim in claims if claim.measured)
    return {name: measured.read(name, outputs) for name in names}
