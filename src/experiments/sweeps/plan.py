"""Assign folders to the runs of a sweep, and store the sweep's plan (`.sweep.json`).

A job gets the folder that already contains its run's record, if there is one. It never gets a
folder with another run's record, because Hydra writes the job's config into the folder before the
run starts.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments import config, records
from experiments.config import choices
from experiments.errors import RecordError
from experiments.records import Record
from experiments.runtime.progress import log
from experiments.sweeps import snapshot

FILE_NAME = ".sweep.json"
_LOCK = ".sweep.lock"
_BEST_FIRST = ("finished", "pruned", "running", "interrupted", "failed", "oom")


@dataclass
class SweepPlan:
    """The kind and size of a sweep, as planned."""

    kind: str
    """`grid`, `tuned`, or the name of a search's sampler."""
    total: int
    """Number of runs in the finished sweep."""
    run_ids: list[str] = field(default_factory=list)
    """Ids of the known runs; empty for a search, whose runs are not known in advance."""
    seeds_per_trial: int = 1


class Folders:
    """Assigns folders of a sweep to runs, based on the records already in them."""

    def __init__(self, sweep_dir: Path) -> None:
        """Read the records in the sweep's folder.

        Raises:
            RecordError: a record was written by a newer version of the program.
        """
        self._sweep_dir = sweep_dir
        self._used_names: set[str] = set()
        self._by_run: dict[str, Record] = {}
        for file in sorted(sweep_dir.glob(f"*/{records.FILE_NAME}")):
            self._used_names.add(file.parent.name)
            try:
                self._remember(records.read(file))
            except records.BrokenRecord as error:
                log(f"not counted: {error}")

    def _remember(self, record: Record) -> None:
        previous = self._by_run.get(record.run_id)
        if previous is None or _rank(record) > _rank(previous):
            self._by_run[record.run_id] = record

    def assign(self, run_id: str, preferred: str) -> str:
        """Return a run's existing folder, else `preferred`, else `preferred` with a free number."""
        existing = self._by_run.get(run_id)
        if existing is not None:
            return existing.folder.name
        name, attempt = preferred, 2
        while name in self._used_names:
            name, attempt = f"{preferred}_{attempt}", attempt + 1
        self._used_names.add(name)
        self._by_run[run_id] = Record(run_id, folder=self._sweep_dir / name)
        return name


def _rank(record: Record) -> tuple[int, str]:
    return -_BEST_FIRST.index(record.status), record.started_at


def write(sweep_dir: Path, plan: SweepPlan) -> None:
    """Write the plan of a sweep to its folder.

    Raises:
        RecordError: the folder cannot be written.
    """
    write_shared(sweep_dir, FILE_NAME, json.dumps(dataclasses.asdict(plan), indent=1) + "\n")


def write_shared(sweep_dir: Path, name: str, text: str) -> None:
    """Write a file in the sweep's folder under a lock, because several workers may write it.

    Raises:
        RecordError: the folder cannot be written.
    """
    from filelock import FileLock

    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(sweep_dir / _LOCK):
            records.write_atomically(sweep_dir / name, text.encode())
    except (OSError, RecordError) as error:
        cause = error.__cause__ if isinstance(error, RecordError) else error
        reason = getattr(cause, "strerror", None) or str(error)
        raise RecordError(
            f"the sweep's folder {sweep_dir} cannot be written ({reason}): make room or choose "
            "another with hydra.sweep.dir=DIR."
        ) from error


def read(sweep_dir: Path) -> SweepPlan | None:
    """Return the plan of a sweep; None if there is none.

    Raises:
        RecordError: the file is incomplete.
    """
    file = sweep_dir / FILE_NAME
    if not file.is_file():
        return None
    try:
        tree: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return SweepPlan(**tree)
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"{file} is incomplete ({error}): rerun the same command, which writes it again."
        ) from error


def not_begun(sweep_dir: Path) -> list[Record]:
    """Return a record for each planned run that has none on disk, from the snapshot's configs.

    Raises:
        RecordError: a file of the sweep is incomplete.
    """
    planned = read(sweep_dir)
    if planned is None or not planned.run_ids:
        return []
    recorded = {record.run_id for record in records.read_all(sweep_dir)}
    missing = set(planned.run_ids) - recorded
    missing_records = {}
    for cfg in snapshot.read_all(sweep_dir) if missing else []:
        hydra = cfg.pop("hydra")
        run = config.load(cfg)
        run_id = config.run_id(run)
        if run_id in missing:
            missing_records[run_id] = Record(
                run_id,
                status=records.NOT_BEGUN,
                job=int(hydra.job.num),
                overrides=choices.plain(hydra.overrides.task, run),
                config=config.canonical(run),
            )
    return [missing_records[run_id] for run_id in planned.run_ids if run_id in missing_records]


def newest(candidates: Sequence[Record]) -> list[Record]:
    """Return one record per run: the one with the best status, among these the newest."""
    best_records: dict[str, Record] = {}
    for record in candidates:
        if record.run_id not in best_records or _rank(record) > _rank(best_records[record.run_id]):
            best_records[record.run_id] = record
    return list(best_records.values())
