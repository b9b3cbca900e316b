"""Upload a run's folder to the hub, in one commit each time; a failed upload never loses a run."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from experiments import records
from experiments.config import RunConfig
from experiments.errors import RecordError
from experiments.records import Record
from experiments.records.hub import layout, repository
from experiments.records.hub.repository import Put
from experiments.runtime.progress import log

CHECKPOINTS = "checkpoints"
STUDY = "study.db"
_RESULT = (records.FILE_NAME, records.ITEMS_NAME, "adapter/")
_STATE = (records.FILE_NAME, "answers/", f"{CHECKPOINTS}/")


def push_finished(run: RunConfig, record: Record) -> None:
    """Upload adapter, model card and record of a finished run.

    If the upload fails, a message explains how to repeat it later.
    """
    repo, earlier_push = run.hub.repo, record.provenance.get("hub") or {}
    if not run.hub.push or (earlier_push.get("repo") == repo and earlier_push.get("pushed")):
        return
    assert repo is not None, "HubConfig.problems demands it"
    with_checkpoints = run.hub.checkpoints and run.trainer.keep in ("last", "all")
    try:
        push(record, repo, checkpoints=with_checkpoints)
    except RecordError as error:
        record.provenance["hub"] = {"repo": repo, "pushed": False, "reason": str(error)}
        records.write(record)
        log(
            f"  not uploaded: {error} The run is finished and recorded; upload it later with "
            f"`python -m experiments push {record.folder} --repo {repo}`."
        )


def push(record: Record, repo: str, *, checkpoints: bool = False) -> str:
    """Upload a finished run and return the commit id; its repository must exist.

    Raises:
        RecordError: the upload failed, or the repository belongs to another single run.
    """
    location = layout.place(record)
    if location.prefix is None:
        repository.refuse_other_run(repo, record.run_id)
    record.provenance["hub"] = {"repo": repo, "pushed": True}
    records.write(record)  # so that the uploaded record contains it too
    prefixes = (*_RESULT, f"{CHECKPOINTS}/") if checkpoints else _RESULT
    commit = _send(record, repo, prefixes, f"Run {record.run_id}")
    record.provenance["hub"] = {"repo": repo, "pushed": True, "commit": commit}
    records.write(record)
    log(f"  uploaded to {repo} as {location.prefix or 'its only run'}, commit {commit[:12]}")
    return commit


def push_checkpoint(run: RunConfig, record: Record, checkpoint: Path) -> None:
    """Upload the checkpoints of a run in progress; training continues if this fails."""
    if not run.hub.checkpoints:
        return
    assert run.hub.repo is not None, "HubConfig.problems demands it"
    try:
        _send(record, run.hub.repo, _STATE, f"Run {record.run_id}, {checkpoint.name}")
        log(f"  {checkpoint.name} uploaded to {run.hub.repo}")
    except RecordError as error:
        log(f"  {checkpoint.name} not uploaded: {error} Training continues.")


def push_interrupted(run: RunConfig, record: Record) -> None:
    """Upload the files from which an interrupted run can resume."""
    if not run.hub.checkpoints:
        return
    assert run.hub.repo is not None, "HubConfig.problems demands it"
    try:
        _send(record, run.hub.repo, _STATE, f"Run {record.run_id}, interrupted")
        log(
            f"  uploaded to {run.hub.repo}; to resume on another machine, add "
            f"resume_from=hf://{run.hub.repo}"
        )
    except RecordError as error:
        log(f"  not uploaded: {error} The run can resume from {record.folder}.")


def _send(record: Record, repo: str, prefixes: Sequence[str], message: str) -> str:
    """Upload the selected files of a run, and delete those that the run no longer has."""
    location = layout.place(record)
    with tempfile.TemporaryDirectory() as scratch:
        puts = [
            Put(location.of(relative), path)
            for relative, path in layout.files(record.folder)
            if relative.startswith(tuple(prefixes))
        ]
        if record.job is not None:
            puts += _study_snapshot(record.folder.parent, Path(scratch))
        owned_prefixes = [location.of(f"{name}/") for name in (CHECKPOINTS, "answers")]
        uploaded_paths = {put.path for put in puts}
        try:
            obsolete = [
                path
                for path in repository.list_files(repo)
                if path.startswith(tuple(owned_prefixes)) and path not in uploaded_paths
            ]
        except Exception as error:  # error types of the hub's library differ by version
            raise RecordError(f"{repository.explanation(repo, error)}.") from error
        return repository.commit(repo, puts, obsolete, message)


def _study_snapshot(sweep_dir: Path, scratch: Path) -> Iterator[Put]:
    """Yield a consistent snapshot of a search's database, which may be in use."""
    file = sweep_dir / STUDY
    if not file.is_file():
        return
    copy = scratch / STUDY
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    yield Put(f"{sweep_dir.resolve().name}/{STUDY}", copy)
