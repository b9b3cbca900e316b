"""The record of a run on disk: an atomically written `run.json`, with the items in a second file.

A record has the status `running` from the start and is replaced by its final state, never appended
to. Two runs have the same results only if more than their configs agree, so a record also has an
identity: data, base weights, precision, device class, code and libraries.
"""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config import renamed_keys
from experiments.config.inputs import beside
from experiments.errors import RecordError
from experiments.runtime import disk

SCHEMA_VERSION = 1
STATUSES = ("running", "finished", "failed", "pruned", "interrupted", "oom")
NOT_BEGUN = "not begun"
"""Status of a run that belongs to a sweep but has no record yet; it is used in reports only."""
UNFINISHED = (NOT_BEGUN, "running", "interrupted")
"""Statuses of runs that the same command starts or resumes."""
SETTLED = ("finished", "pruned")
"""Statuses of runs that are not trained again."""
FILE_NAME = "run.json"
ITEMS_NAME = "items.jsonl.gz"
ROWS_NAME = "rows.jsonl.gz"
"""The test rows that the items answer; with them a metric can be computed later."""


class BrokenRecord(RecordError):
    """A record that cannot be read: it is reported, never counted and never deleted."""


@dataclass(repr=False)
class Record:
    """Everything known about one run; `run.json` contains these fields."""

    run_id: str
    status: str = "running"
    schema_version: int = SCHEMA_VERSION
    name: str | None = None
    job: int | None = None
    started_at: str = ""
    finished_at: str | None = None
    overrides: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    resolved_from: dict[str, str] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    test_curve: list[dict[str, float]] = field(default_factory=list)
    """The losses on the test splits at the steps of `eval.test_steps` and at the last step; the
    parts of each row are in the items (`step_parts`)."""
    timing: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    folder: Path = field(default=Path(), metadata={"stored": False})

    @property
    def path(self) -> Path:
        """The record's file."""
        return self.folder / FILE_NAME

    def __repr__(self) -> str:
        return f"Record({self.run_id}, {self.status}, {self.folder})"


write_atomically = disk.write_atomically


def write(record: Record) -> None:
    """Write the record atomically: to a temporary file, which is then renamed.

    Raises:
        RecordError: the disk is full or the folder cannot be written.
    """
    tree = {
        f.name: getattr(record, f.name)
        for f in dataclasses.fields(record)
        if f.metadata.get("stored", True)
    }
    text = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=True) + "\n"
    write_atomically(record.path, text.encode())


def write_items(record: Record, items: Iterable[dict[str, Any]]) -> None:
    """Write the per-item results to the record's folder, compressed, one JSON object per line.

    Raises:
        RecordError: the disk is full or the folder cannot be written.
    """
    _write_lines(record.folder / ITEMS_NAME, items, "replace")


def write_rows(record: Record, rows: Iterable[dict[str, Any]]) -> None:
    """Write the evaluated test rows to the record's folder, as `{"split": ..., "row": ...}`.

    Raises:
        RecordError: the disk is full or the folder cannot be written.
    """
    _write_lines(record.folder / ROWS_NAME, rows, "surrogatepass")


def _write_lines(file: Path, trees: Iterable[dict[str, Any]], errors: str) -> None:
    lines = "".join(json.dumps(tree, ensure_ascii=False) + "\n" for tree in trees)
    # With mtime=0, the same content gives the same bytes.
    write_atomically(file, gzip.compress(lines.encode("utf-8", errors), mtime=0))


def read(path: Path) -> Record:
    """Read one `run.json`.

    Raises:
        BrokenRecord: the file is missing, truncated or not JSON.
        RecordError: it has a newer schema version.
    """
    if not path.parent.is_dir():
        raise BrokenRecord(
            f"there is no run in {path.parent}: the folder does not exist; {beside(path.parent)}."
        )
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        version = tree["schema_version"]
        if version <= SCHEMA_VERSION:
            return from_tree(tree, path.parent)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenRecord(
            f"{path} is not a valid record ({_reason(error)}): move it away to repeat the run."
        ) from error
    raise RecordError(
        f"{path} has schema version {version}, but this program reads only up to "
        f"{SCHEMA_VERSION}: update the program."
    )


def from_tree(tree: dict[str, Any], folder: Path) -> Record:
    """Return the record that a file's tree describes, with the present names of config keys."""
    record = Record(**_fields(tree), folder=folder)
    record.config = renamed_keys.upgraded(record.config)
    # A step plan repeats keys of `trainer`.
    record.plan = dict(renamed_keys.upgraded({"trainer": record.plan})["trainer"])
    record.overrides = renamed_keys.upgraded_overrides(record.overrides)
    record.resolved_from = {
        renamed_keys.new_name(key) or key: origin for key, origin in record.resolved_from.items()
    }
    return record


def _fields(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the value of each field in the file; null means "not known", which is the default."""
    values = {"run_id": tree["run_id"]}
    for field_ in dataclasses.fields(Record):
        value = tree.get(field_.name)
        if value is None or not field_.metadata.get("stored", True):
            continue
        if field_.default_factory is not dataclasses.MISSING:
            kind = type(field_.default_factory())
            if not isinstance(value, kind):
                raise TypeError(f"{field_.name} is not a {kind.__name__}")
        values[field_.name] = value
    return values


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which the message already has
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def read_all(path: Path) -> list[Record]:
    """Read the complete records of a run, sweep or report folder, sorted by job number.

    A broken record does not hide the others; `unreadable` lists it.
    """
    complete = [record for _, record in _read_each(path) if isinstance(record, Record)]
    return sorted(complete, key=lambda r: (r.job is None, r.job or 0, r.started_at, str(r.folder)))


def unreadable(path: Path) -> list[str]:
    """Return a sentence for each record of a folder that `read_all` leaves out.

    A sentence names the file relative to the folder, so that it can be part of a committed report.
    """
    sentences = []
    for file, error in _read_each(path):
        if isinstance(error, RecordError):
            name = file.name if file == path else file.relative_to(path).as_posix()
            sentences.append(name + str(error).removeprefix(str(file)))
    return sentences


def _read_each(path: Path) -> Iterator[tuple[Path, Record | RecordError]]:
    for file in _record_files(path):
        try:
            yield file, read(file)
        except RecordError as error:
            yield file, error


def _record_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / FILE_NAME).is_file():
        return [path / FILE_NAME]
    return sorted([*path.glob(f"*/{FILE_NAME}"), *path.glob("runs/*.json")])


def items(record: Record) -> list[dict[str, Any]]:
    """Return the per-item results of a record; empty if there are none."""
    for file in (record.folder / ITEMS_NAME, record.folder / f"{record.run_id}.{ITEMS_NAME}"):
        if file.is_file():
            return _lines(file)
    return []


def rows(record: Record) -> list[dict[str, Any]]:
    """Return the test rows of a run; empty if there are none.

    Raises:
        RecordError: the file is damaged.
    """
    file = record.folder / ROWS_NAME
    return _lines(file) if file.is_file() else []


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8", errors="surrogatepass") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordError(
            f"{file} is incomplete or damaged ({error}): move its folder away to repeat the run."
        ) from error


def siblings(parent: Path, run_id: str) -> Iterator[Record]:
    """Yield the readable records of one run_id in the folders of `parent`, newest first."""
    matching = []
    for file in parent.glob(f"*/{FILE_NAME}"):
        try:
            record = read(file)
        except RecordError:
            continue  # reports list it; here it is skipped
        if record.run_id == run_id:
            matching.append(record)
    yield from sorted(matching, key=lambda r: r.started_at, reverse=True)
