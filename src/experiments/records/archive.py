"""The records in a report's folder: one file per run, or compressed files if there are many.

    runs/ID.json, runs/ID.items.jsonl.gz       up to MANY records
    runs/records.jsonl.gz, runs/items.jsonl.xz more: one line per record, one line per item

Runs of one sweep have much in common, above all the answers of the untuned base: compressed
together, their items take a third of the space. Code that reads the records of a report reads both
forms through this module; `runs/ID.json` names a record in either form. The folders of runs have
one form only.
"""

import dataclasses
import functools
import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import records
from experiments.errors import RecordError
from experiments.records import Record, run_record

MANY = 50
FOLDER = "runs"
RECORDS, ITEMS = "records.jsonl.gz", "items.jsonl.xz"
_RUN = "run_id"


def files(
    named_records: Sequence[tuple[str, Record]], with_items: set[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files that contain some records, with the same bytes each time.

    Args:
        named_records: pairs of a unique name and a record, as `named` returns them.
        with_items: names of the records whose items are kept too.
    """
    with_saved_items = [(name, record) for name, record in named_records if name in with_items]
    if len(named_records) > MANY:
        lines = "".join(_json(record, indent=None) for _, record in named_records)
        yield f"{FOLDER}/{RECORDS}", gzip.compress(lines.encode(), mtime=0)
        if item_lines := "".join(_item_lines(record for _, record in with_saved_items)):
            yield (
                f"{FOLDER}/{ITEMS}",
                lzma.compress(item_lines.encode("utf-8", "replace"), preset=9),
            )
        return
    for name, record in named_records:
        yield f"{FOLDER}/{name}.json", _json(record, indent=1).encode()
    for name, record in with_saved_items:
        if content := _items_file(record):
            yield f"{FOLDER}/{name}.{records.ITEMS_NAME}", content


def named(run_records: Iterable[Record]) -> list[tuple[str, Record]]:
    """Return each record with its name: the run's id, or `ID.2` for a second record of that run."""
    counts: dict[str, int] = {}
    names = []
    for record in run_records:
        number = counts[record.run_id] = counts.get(record.run_id, 0) + 1
        names.append((record.run_id if number == 1 else f"{record.run_id}.{number}", record))
    return names


def record_files(out: Path) -> dict[str, Path]:
    """Map each record name in a report's folder on disk to the file that contains it."""
    files_by_name = {file.stem: file for file in sorted((out / FOLDER).glob("*.json"))}
    packed = out / FOLDER / RECORDS
    return files_by_name | (
        {name: packed for name, _ in _packed(packed)} if packed.is_file() else {}
    )


def remove_other_form(out: Path, record_names: Iterable[str], report_files: set[str]) -> None:
    """Remove records that are now stored in the other form, or that the report replaces.

    Args:
        out: a report's folder.
        record_names: names of the records.
        report_files: the files of the report.
    """
    names = [f"{name}.{ending}" for name in record_names for ending in ("json", records.ITEMS_NAME)]
    for name in (RECORDS, ITEMS, *names):
        if f"{FOLDER}/{name}" not in report_files:
            (out / FOLDER / name).unlink(missing_ok=True)


def read_all(path: Path) -> list[Record]:
    """Return the records of a run, a sweep or a report, or one record of a report.

    They are sorted as by `records.read_all`.

    Raises:
        RecordError: the compressed file is incomplete, or was written by a newer version.
    """
    packed = [record for _, record in _packed_records(path)]
    run_records = packed if packed and not path.exists() else [*records.read_all(path), *packed]
    return sorted(
        run_records, key=lambda r: (r.job is None, r.job or 0, r.started_at, str(r.folder))
    )


def read_one(path: Path, argument: str) -> Record:
    """Return the only record of a run's folder, or one record of a report.

    Args:
        path: the folder or file.
        argument: the command or option that names the path, for messages.

    Raises:
        RecordError: there is no record or more than one, or it cannot be read.
    """
    run_records, problems = read_all(path), unreadable(path)
    if problems:
        raise RecordError(f"{argument} {path}: {problems[0]}")
    if len(run_records) != 1:
        count_text = f"{len(run_records)} records" if run_records else "no record"
        raise RecordError(
            f"{argument} {path} has {count_text}: name the folder of one run, or one record of a "
            "report, outputs/reports/NAME/runs/ID.json."
        )
    return run_records[0]


def unreadable(path: Path) -> list[str]:
    """Return a sentence for each record that `read_all` leaves out."""
    return records.unreadable(path) if path.exists() and path.name != RECORDS else []


def holds(path: Path) -> bool:
    """Return whether a file or folder exists, or is a record in a report's compressed file."""
    return path.exists() or bool(_packed_records(path))


def items(record: Record) -> list[dict[str, Any]]:
    """Return the per-item results of a record; empty if there are none.

    Raises:
        RecordError: their file is incomplete.
    """
    file = record.folder / ITEMS
    if record.folder.name != FOLDER or not file.is_file():
        return records.items(record)
    stat = file.stat()
    return _packed_items(file, stat.st_mtime_ns, stat.st_size).get(record.run_id, [])


def _packed_records(path: Path) -> list[tuple[str, Record]]:
    if path.name == RECORDS and path.is_file():
        return _packed(path)
    if (packed := path / FOLDER / RECORDS).is_file():
        return _packed(packed)
    if path.suffix == ".json" and not path.exists() and (path.parent / RECORDS).is_file():
        return [entry for entry in _packed(path.parent / RECORDS) if entry[0] == path.stem]
    return []


def _packed(file: Path) -> list[tuple[str, Record]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return named([_record(json.loads(line), file) for line in lines])
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise RecordError(
            f"{file} is incomplete or damaged ({error}): fetch it again, or rewrite the report "
            "from its runs."
        ) from error


def _record(tree: dict[str, Any], file: Path) -> Record:
    version = tree["schema_version"]
    if version > records.SCHEMA_VERSION:
        raise RecordError(
            f"{file} has schema version {version}, but this program reads only up to "
            f"{records.SCHEMA_VERSION}: update the program."
        )
    return run_record.from_tree(tree, file.parent)


def _stored_fields() -> list[str]:
    return [f.name for f in dataclasses.fields(Record) if f.metadata.get("stored", True)]


def _json(record: Record, indent: int | None) -> str:
    tree = {name: getattr(record, name) for name in _stored_fields()}
    return json.dumps(tree, indent=indent, ensure_ascii=False) + "\n"


def _items_file(record: Record) -> bytes | None:
    """Return the content of the items file, recreated if the items are in a compressed one."""
    for name in (records.ITEMS_NAME, f"{record.run_id}.{records.ITEMS_NAME}"):
        if (file := record.folder / name).is_file():
            return file.read_bytes()
    if not (record_items := items(record)):
        return None
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in record_items)
    return gzip.compress(lines.encode("utf-8", "replace"), mtime=0)


def _item_lines(run_records: Iterable[Record]) -> Iterator[str]:
    for record in run_records:
        for item in items(record):
            yield json.dumps({_RUN: record.run_id, **item}, ensure_ascii=False) + "\n"


@functools.lru_cache(maxsize=2)
def _packed_items(file: Path, _changed: int, _size: int) -> dict[str, list[dict[str, Any]]]:
    """Map each run's id to its items; the file is read once for all runs of a report."""
    items_by_run: dict[str, list[dict[str, Any]]] = {}
    try:
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                item = json.loads(line)
                items_by_run.setdefault(item.pop(_RUN), []).append(item)
    except (OSError, EOFError, ValueError, KeyError, lzma.LZMAError) as error:
        raise RecordError(
            f"{file} is incomplete or damaged ({error}): fetch it again, or rewrite the report "
            "from its runs."
        ) from error
    return items_by_run
