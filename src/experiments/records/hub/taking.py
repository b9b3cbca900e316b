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

_PARTIAL_FOLDER = ".taking"
_NAMED_KEYS = 6


@dataclass(frozen=True)
class Source:
    """The outputs of an earlier runtime."""

    name: str
    """The source as the user named it."""
    records: list[Record]


def take_run(run: RunConfig, run_id: str, folder: Path, *, as_sibling: bool) -> None:
    """Copy one run.

    Args:
        run: the run to execute; its `resume_from` names the source.
        run_id: the run's id.
        folder: the folder of this job.
        as_sibling: copy into a sibling of that folder, where it is found; else into the folder
            itself.

    Raises:
        RecordError: the source contains no record, or none of this run.
    """
    assert run.resume_from is not None
    if as_sibling and (existing := next(records.siblings(folder.parent, run_id), None)) is not None:
        log(f"run {run_id} is already in {existing.folder}: nothing was copied")
        return
    source = find(run.resume_from, prefer=folder.parent.name)
    run_records = _best_records(source.records, {run_id})
    if not run_records:
        raise RecordError(_config_mismatch(source, {run_id: config.canonical(run)}))
    target = folder.parent if as_sibling else folder
    if as_sibling:
        _copy_runs(run_records, target)
    elif not (folder / records.FILE_NAME).is_file():
        _copy_run(run_records[0], folder, home=folder)


def take_sweep(
    resume_from: str, sweep_dir: Path, configs: dict[str, dict[str, Any]] | None
) -> None:
    """Copy the runs of a sweep, and the database of a search.

    Args:
        resume_from: `resume_from`.
        sweep_dir: the sweep's folder; a source folder of the same name is preferred.
        configs: maps run ids to canonical configs, for the runs of a grid; None for a search.

    Raises:
        RecordError: the source contains no record, or none of these runs.
    """
    source = find(resume_from, prefer=sweep_dir.resolve().name)
    sweeps = sorted({record.folder.parent.name for record in source.records})
    if configs is None and len(sweeps) > 1:
        raise RecordError(
            f"resume_from={resume_from} contains several sweeps ({', '.join(sweeps)}), but none "
            f"named {sweep_dir.resolve().name}: name the folder of one, or leave resume_from out."
        )
    run_records = _best_records(source.records, configs)
    if configs and not run_records:
        raise RecordError(_config_mismatch(source, configs))
    database = run_records[0].folder.parent / STUDY
    if configs is None and database.is_file() and not (sweep_dir / STUDY).exists():
        _copy_database(resume_from, database, sweep_dir)
    _copy_runs(run_records, sweep_dir)


def _copy_database(resume_from: str, database: Path, sweep_dir: Path) -> None:
    sweep_dir.mkdir(parents=True, exist_ok=True)
    copy = sweep_dir / f"{STUDY}.partial"
    shutil.copyfile(database, copy)
    if problem := integrity.database_problem(copy):
        copy.unlink()
        raise RecordError(
            f"resume_from={resume_from}: {database} is incomplete or damaged ({problem}): upload "
            "or synchronise it again, or leave resume_from out."
        )
    copy.rename(sweep_dir / STUDY)


def find(resume_from: str, prefer: str) -> Source:
    """Find the records in a source; of several sweeps, use the one with the preferred name.

    Raises:
        RecordError: there is none.
    """
    hub_source = config.hub_source(resume_from)
    if hub_source is not None:
        folder = repository.fetch(*hub_source)
    else:
        folder = Path(resume_from).expanduser()
        if not folder.is_dir():
            raise RecordError(
                f"resume_from={resume_from}: there is no such folder (looked in {Path.cwd()}); "
                "mount the drive or attach the dataset first, or leave resume_from out."
            )
    files = [
        *folder.glob(records.FILE_NAME),
        *sorted(folder.glob(f"*/{records.FILE_NAME}")),
        *sorted(folder.glob(f"*/*/{records.FILE_NAME}")),
    ]
    files = [f for f in files if f.resolve().parent.parent.name == prefer] or files
    run_records = []
    for file in files:
        try:
            run_records.append(records.read(file))
        except records.BrokenRecord as error:
            log(f"not copied: {error}")
    if not run_records:
        raise RecordError(
            f"resume_from={resume_from} contains no record (run.json): name the folder of a run, "
            "of a sweep or of several sweeps, such as the outputs folder of an earlier runtime, or "
            "leave it out."
        )
    return Source(resume_from, run_records)


def _best_records(run_records: Sequence[Record], run_ids: Collection[str] | None) -> list[Record]:
    """Return one record per run: a settled one if there is one, else the newest."""
    chosen: dict[str, Record] = {}
    for record in sorted(run_records, key=lambda r: (r.status in records.SETTLED, r.started_at)):
        if run_ids is None or record.run_id in run_ids:
            chosen[record.run_id] = record
    return sorted(chosen.values(), key=lambda r: (r.job or 0, r.folder.name))


def _config_mismatch(source: Source, configs: dict[str, dict[str, Any]]) -> str:
    """Return an error that names the keys in which the nearest record and run differ."""
    pairs = ((_differences(r.config, tree), r) for r in source.records for tree in configs.values())
    differences, nearest = min(pairs, key=lambda pair: len(pair[0]))
    examples = ", ".join(
        f"{key}={theirs} (here {ours})" for key, theirs, ours in differences[:_NAMED_KEYS]
    )
    more = (
        f" and {len(differences) - _NAMED_KEYS} more keys" if len(differences) > _NAMED_KEYS else ""
    )
    return (
        f"resume_from={source.name}: none of its {len(source.records)} records has this config; "
        f"the closest, {nearest.folder.name}, has {examples}{more}: give the same overrides, or "
        "leave resume_from out."
    )


def _differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    a, b = dict(config.leaves(first)), dict(config.leaves(second))
    return [(k, a.get(k), b.get(k)) for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k)]


def _copy_runs(run_records: Sequence[Record], target: Path) -> None:
    """Copy runs into a folder of runs, and skip those that it already contains."""
    existing = {r.run_id: r for r in (records.read_all(target) if target.is_dir() else [])}
    for record in run_records:
        if record.run_id in existing:
            log(f"run {record.run_id} is already in {existing[record.run_id].folder}: not copied")
            continue
        name = record.folder.name
        if name == layout.SINGLE and record.job is None:
            name = f"from_hub_{record.run_id}"
        attempt, folder = 2, target / name
        while folder.exists():
            attempt, folder = attempt + 1, target / f"{name}_{attempt}"
        partial = target / _PARTIAL_FOLDER / folder.name
        shutil.rmtree(partial, ignore_errors=True)
        _copy_run(record, partial, home=folder)
        partial.rename(folder)
        shutil.rmtree(target / _PARTIAL_FOLDER, ignore_errors=True)
        log(f"run {record.run_id} ({record.status}) copied from {record.folder} to {folder}")


def _copy_run(record: Record, folder: Path, home: Path) -> None:
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
        for relative, path in layout.files_in_source(record.path)
        if not any(relative.startswith(f"{CHECKPOINTS}/{name}/") for name in broken)
    ]
    # The record comes last, because a folder without it is not a run.
    files.sort(key=lambda pair: pair[0] == records.FILE_NAME)
    for relative, path in files:
        target_file = folder / relative
        if target_file.exists():  # written by Hydra for this start
            continue
        try:
            target_file.parent.mkdir(parents=True, exist_ok=True)
            partial = target_file.with_name(target_file.name + ".partial")
            shutil.copyfile(path, partial)  # not the file mode, because the source may be read-only
            identical = filecmp.cmp(path, partial, shallow=False)
            partial.rename(target_file)
        except OSError as error:
            raise RecordError(
                f"{path} could not be copied to {folder} ({error.strerror}): free disk space or "
                "mount the source again, then rerun the same command."
            ) from error
        if not identical:
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
            records.write_atomically(file, (json.dumps(state, indent=2) + "\n").encode())
