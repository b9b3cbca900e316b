"""Copy the runs of an earlier runtime here, completely and checked, without overwriting anything.

The source may be the folder of a run or a sweep, an `outputs` folder with many of them, or a hub
repository that `hub.push` filled; it is only read. Copied runs are then found like any earlier run.
"""

import filecmp
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import config, records
from experiments.config import RunConfig
from experiments.errors import RecordError
from experiments.records import Record, integrity
from experiments.records.hub import layout, repository
from experiments.records.hub.pushing import CHECKPOINTS, STUDY
from experiments.runtime.progress import log

_TAKING = ".taking"
_NAMED_KEYS = 6


@dataclass(frozen=True)
class Source:
    """The outputs of an earlier runtime."""

    name: str
    """The source as the user named it."""
    records: list[Record]


def take_run(run: RunConfig, run_id: str, folder: Path, *, beside: bool) -> None:
    """Copy one run.

    Args:
        run: the run to execute; its `resume_from` names the source.
        run_id: the run's id.
        folder: the folder of this job.
        beside: copy into a sibling of that folder, where it is found; else into the folder itself.

    Raises:
        RecordError: the source contains no record, or none of this run.
    """
    assert run.resume_from is not None
    if beside and (there := next(records.siblings(folder.parent, run_id), None)) is not None:
        log(f"run {run_id} is already in {there.folder}: nothing was copied")
        return
    source = find(run.resume_from, prefer=folder.parent.name)
    found = _best(source.records, {run_id})
    if not found:
        raise RecordError(_of_another_config(source, {run_id: config.canonical(run)}))
    into = folder.parent if beside else folder
    if beside:
        _take(found, into)
    elif not (folder / records.FILE_NAME).is_file():
        _copy_whole(found[0], folder, home=folder)


def take_sweep(given: str, sweep_dir: Path, wanted: dict[str, dict[str, Any]] | None) -> None:
    """Copy the runs of a sweep, and the database of a search.

    Args:
        given: `resume_from`.
        sweep_dir: the sweep's folder; a source folder of the same name is preferred.
        wanted: maps run ids to canonical configs, for the runs of a grid; None for a search.

    Raises:
        RecordError: the source contains no record, or none of these runs.
    """
    source = find(given, prefer=sweep_dir.resolve().name)
    sweeps = sorted({record.folder.parent.name for record in source.records})
    if wanted is None and len(sweeps) > 1:
        raise RecordError(
            f"resume_from={given} contains several sweeps ({', '.join(sweeps)}), but none named "
            f"{sweep_dir.resolve().name}: name the folder of one, or leave resume_from out."
        )
    found = _best(source.records, wanted)
    if wanted and not found:
        raise RecordError(_of_another_config(source, wanted))
    database = found[0].folder.parent / STUDY
    if wanted is None and database.is_file() and not (sweep_dir / STUDY).exists():
        _take_database(given, database, sweep_dir)
    _take(found, sweep_dir)


def _take_database(given: str, database: Path, sweep_dir: Path) -> None:
    sweep_dir.mkdir(parents=True, exist_ok=True)
    copy = sweep_dir / f"{STUDY}.partial"
    shutil.copyfile(database, copy)
    if problem := integrity.database_problem(copy):
        copy.unlink()
        raise RecordError(
            f"resume_from={given}: {database} is incomplete or damaged ({problem}): upload or "
            "synchronise it again, or leave resume_from out."
        )
    copy.rename(sweep_dir / STUDY)


def find(given: str, prefer: str) -> Source:
    """Find the records in a source; of several sweeps, use the one with the preferred name.

    Raises:
        RecordError: there is none.
    """
    named = config.hub_source(given)
    if named is not None:
        folder = repository.fetch(*named)
    else:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise RecordError(
                f"resume_from={given}: there is no such folder (looked in {Path.cwd()}); mount the "
                "drive or attach the dataset first, or leave resume_from out."
            )
    files = [
        *folder.glob(records.FILE_NAME),
        *sorted(folder.glob(f"*/{records.FILE_NAME}")),
        *sorted(folder.glob(f"*/*/{records.FILE_NAME}")),
    ]
    files = [f for f in files if f.resolve().parent.parent.name == prefer] or files
    found = []
    for file in files:
        try:
            found.append(records.read(file))
        except records.BrokenRecord as error:
            log(f"not copied: {error}")
    if not found:
        raise RecordError(
            f"resume_from={given} contains no record (run.json): name the folder of a run, of a "
            "sweep or of several sweeps, such as the outputs folder of an earlier runtime, or "
            "leave it out."
        )
    return Source(given, found)


def _best(found: Sequence[Record], wanted: Collection[str] | None) -> list[Record]:
    """Return one record per run: a settled one if there is one, else the newest."""
    chosen: dict[str, Record] = {}
    for record in sorted(found, key=lambda r: (r.status in records.SETTLED, r.started_at)):
        if wanted is None or record.run_id in wanted:
            chosen[record.run_id] = record
    return sorted(chosen.values(), key=lambda r: (r.job or 0, r.folder.name))


def _of_another_config(source: Source, wanted: dict[str, dict[str, Any]]) -> str:
    """Return an error that names the keys in which the nearest record and run differ."""
    pairs = ((_differences(r.config, tree), r) for r in source.records for tree in wanted.values())
    apart, nearest = min(pairs, key=lambda pair: len(pair[0]))
    shown = ", ".join(f"{key}={there} (here {here})" for key, there, here in apart[:_NAMED_KEYS])
    more = f" and {len(apart) - _NAMED_KEYS} more keys" if len(apart) > _NAMED_KEYS else ""
    return (
        f"resume_from={source.name}: none of its {len(source.records)} records has this config; "
        f"the closest, {nearest.folder.name}, has {shown}{more}: give the same overrides, or leave "
        "resume_from out."
    )


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    a, b = dict(config.leaves(one)), dict(config.leaves(other))
    return [(k, a.get(k), b.get(k)) for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k)]


def _take(found: Sequence[Record], into: Path) -> None:
    """Copy runs into a folder of runs, and skip those that it already contains."""
    there = {r.run_id: r for r in (records.read_all(into) if into.is_dir() else [])}
    for record in found:
        if record.run_id in there:
            log(f"run {record.run_id} is already in {there[record.run_id].folder}: not copied")
            continue
        name = record.folder.name
        if name == layout.SINGLE and record.job is None:
            name = f"from_hub_{record.run_id}"
        attempt, folder = 2, into / name
        while folder.exists():
            attempt, folder = attempt + 1, into / f"{name}_{attempt}"
        partial = into / _TAKING / folder.name
        shutil.rmtree(partial, ignore_errors=True)
        _copy_whole(record, partial, home=folder)
        partial.rename(folder)
        shutil.rmtree(into / _TAKING, ignore_errors=True)
        log(f"run {record.run_id} ({record.status}) copied from {record.folder} to {folder}")


def _copy_whole(record: Record, folder: Path, home: Path) -> None:
    """Copy and compare a run's files, leaving out incomplete checkpoints.

    Args:
        record: the run.
        folder: the folder to copy to.
        home: the final location of the files, once all are copied.

    Raises:
        RecordError: a file cannot be read or written.
    """
    broken = dict(_broken_checkpoints(record.folder / CHECKPOINTS))
    for name, problem in broken.items():
        log(f"not copied: {record.folder / CHECKPOINTS / name} ({problem})")
    files = [
        (relative, path)
        for relative, path in layout.arrived(record.path)
        if not any(relative.startswith(f"{CHECKPOINTS}/{name}/") for name in broken)
    ]
    # The record comes last, because a folder without it is not a run.
    files.sort(key=lambda pair: pair[0] == records.FILE_NAME)
    for relative, path in files:
        copy = folder / relative
        if copy.exists():  # written by Hydra for this start
            continue
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_name(copy.name + ".partial")
            shutil.copyfile(path, partial)  # not the file mode, because the source may be read-only
            same = filecmp.cmp(path, partial, shallow=False)
            partial.rename(copy)
        except OSError as error:
            raise RecordError(
                f"{path} could not be copied to {folder} ({error.strerror}): free disk space or "
                "mount the source again, then rerun the same command."
            ) from error
        if not same:
            raise RecordError(
                f"{path} changed while it was copied: stop the process that writes to it, then "
                "rerun the same command."
            )
    _name_best_checkpoints(folder / CHECKPOINTS, home / CHECKPOINTS)


def _broken_checkpoints(folder: Path) -> Iterator[tuple[str, str]]:
    for checkpoint in sorted(folder.glob("checkpoint-*")):
        problem = integrity.checkpoint_problem(checkpoint)
        if problem is not None:
            yield checkpoint.name, problem


def _name_best_checkpoints(folder: Path, home: Path) -> None:
    """Update the path of the best checkpoint, which the trainer stores as an absolute path."""
    for file in folder.glob("checkpoint-*/trainer_state.json"):
        state = json.loads(file.read_text(encoding="utf-8"))
        best = state.get("best_model_checkpoint")
        if best:
            state["best_model_checkpoint"] = str(home.absolute() / Path(best).name)
            records.write_whole(file, (json.dumps(state, indent=2) + "\n").encode())
