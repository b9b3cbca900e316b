"""Read raw rows from a file, or from a folder in the layout of a dataset repository.

Numbers keep every digit, since text is parsed with `json.loads` only. (The JSON feature of
`datasets` 5.2 turns 0.3 inside an object into 0.30000000000000004.) Memory use is bounded by one
row of the maximum size, or by one batch of a parquet file.
"""

import fnmatch
import functools
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from experiments.data.json_stream import MAX_ROW_BYTES, array_items, decode, too_large
from experiments.errors import DataError

Raw = dict[str, Any]

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in file and folder names that indicate a split, as in `datasets`
(https://huggingface.co/docs/hub/datasets-file-names-and-splits)."""
# Metadata files written by `datasets` and found in older Hub repositories; they contain no rows.
_METADATA_FILES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_BATCH_ROWS = 256


def read_rows(
    path: Path, patterns: Sequence[str] = (), split: str | None = None
) -> Iterator[tuple[str, Raw]]:
    """Yield (location, raw row) for a file, or for a folder's data files in order of their names.

    A location is, for example, "data/train.jsonl, line 3" ("row 3" for JSON arrays and parquet;
    both count from 1). In parquet rows, keys of nested objects whose value is None are removed,
    because Arrow gives every object in a column the keys of all the others. A top-level column that
    is None keeps its key.

    Args:
        path: the file or folder.
        patterns: see `data_files`.
        split: see `data_files`.

    Raises:
        DataError: as in `data_files`; or a file is damaged, empty or not UTF-8, or contains a NUL
            byte, a row that is not a JSON object, or a row larger than MAX_ROW_BYTES.
    """
    for file in data_files(path, patterns, split):
        name = str(path) if path.is_file() else str(path / file.relative_to(path))
        is_empty = True
        try:
            for where, row in _rows(file, name):
                is_empty = False
                yield where, row
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{name}: cannot be read ({error}); copy or download it again.") from (
                error
            )
        if is_empty:
            raise DataError(f"{name} contains no rows: give a file with one JSON object per line.")


def data_files(path: Path, patterns: Sequence[str] = (), split: str | None = None) -> list[Path]:
    """Return the data files at a path, sorted by name.

    Args:
        path: a file or a folder.
        patterns: shell patterns on the path inside the folder, like the Hub's `allow_patterns`: `*`
            also matches `/`. Empty means every file with a known extension.
        split: `train`, `validation` or `test`, recognised by words in file and folder names; a file
            whose name indicates no split counts as `train`.

    Raises:
        DataError: the path does not exist or no file matches; or, without patterns, the files
            belong to several splits or have several types, so that reading all of them would mix or
            repeat rows.
    """
    if path.is_file():
        _check_suffix(path)
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder (looked in {Path.cwd()}).")
    paths = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.is_file()}
    candidates = [name for name in paths if _is_data(name)]
    if patterns:
        candidates = [name for name in paths if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
        for name in candidates:
            _check_suffix(paths[name])
    by_split: dict[str, list[str]] = {}
    for name in candidates:
        by_split.setdefault(split_of(name), []).append(name)
    chosen = by_split.get(split, []) if split else candidates
    if not chosen:
        description = f"a data file matching {', '.join(patterns)}" if patterns else "a data file"
        description += f" of split {split}" if split else ""
        raise DataError(f"{path} contains no {description.removeprefix('a ')}; {_listing(paths)}.")
    if not patterns:
        _refuse_mixing(path, chosen, by_split if not split else {split: chosen})
    return [paths[name] for name in chosen]


def split_of(name: str) -> str:
    """Return the split named by a path inside a dataset; `train` if no word indicates one.

    >>> split_of("data/test-00000-of-00001.parquet"), split_of("func-calling.json")
    ('test', 'train')
    """
    words = set(re.split(r"[^a-z]+", name.lower()))
    for split in ("test", "validation"):
        if words & set(SPLIT_WORDS[split]):
            return split
    return "train"


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file's bytes; cached per process while the file is unchanged."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.cache
def _sha256(path: Path, _size: int, _modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_data(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return name.lower().endswith(SUFFIXES) and not hidden and parts[-1] not in _METADATA_FILES


def _check_suffix(path: Path) -> None:
    if not path.name.lower().endswith(SUFFIXES):
        raise DataError(
            f"{path}: supported formats are {', '.join(SUFFIXES)}; convert the file to .jsonl."
        )


def _listing(names: Sequence[str] | dict[str, Path]) -> str:
    visible = [name for name in names if not name.startswith(".")]
    remainder = f" and {len(visible) - 8} more" if len(visible) > 8 else ""
    return f"it contains {', '.join(visible[:8])}{remainder}" if visible else "it is empty"


def _refuse_mixing(path: Path, chosen: list[str], by_split: dict[str, list[str]]) -> None:
    if len(by_split) > 1:
        raise DataError(
            f"{path} contains the splits {', '.join(sorted(by_split))}: choose one split or name "
            f"the files; {_listing(chosen)}."
        )
    kinds = {Path(name.removesuffix(".gz")).suffix for name in chosen}
    if len(kinds) > 1:
        raise DataError(
            f"{path} contains rows as {' and '.join(sorted(kinds))}, perhaps the same ones: name "
            f"the files to read; {_listing(chosen)}."
        )


def _rows(path: Path, name: str) -> Iterator[tuple[str, Raw]]:
    with path.open("rb") as stream:
        first_bytes = stream.read(len(_LFS_POINTER))
    if not first_bytes:
        raise DataError(f"{name} is empty: give a file with one JSON object per line.")
    if first_bytes == _LFS_POINTER:
        raise DataError(
            f"{name} is a Git LFS pointer, not the data: run git lfs pull in its repository."
        )
    lower_name = path.name.lower()
    if lower_name.endswith(".parquet"):
        yield from _parquet(path, name)
        return
    with gzip.open(path, "rb") if lower_name.endswith(".gz") else path.open("rb") as stream:
        # Many Hub datasets store JSON lines under the name .json; only the content tells.
        if lower_name.removesuffix(".gz").endswith(".json") and _starts_an_array(stream):
            yield from array_items(stream, name)
        else:
            yield from _lines(stream, name)


def _starts_an_array(stream: BufferedIOBase) -> bool:
    first_bytes = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(0)
    return first_bytes.startswith(b"[")


def _lines(stream: BufferedIOBase, name: str) -> Iterator[tuple[str, Raw]]:
    number = 0
    while line := stream.readline(MAX_ROW_BYTES + 2):
        number += 1
        where = f"{name}, line {number}"
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield where, decode(line, where)


def _parquet(path: Path, name: str) -> Iterator[tuple[str, Raw]]:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                _check_batch(batch, name, number)
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    yield f"{name}, row {number}", {k: _without_nulls(v) for k, v in row.items()}
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{name}: not a readable parquet file after row {number} ({reason}); download it again."
        ) from error


def _check_batch(batch: Any, name: str, rows_before: int) -> None:
    """Refuse a row above the size limit; a batch within the limit cannot contain one."""
    if batch.nbytes <= MAX_ROW_BYTES:
        return
    for index in range(batch.num_rows):
        size = batch.slice(index, 1).nbytes
        if size > MAX_ROW_BYTES:
            raise DataError(too_large(f"{name}, row {rows_before + index + 1}"))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value
