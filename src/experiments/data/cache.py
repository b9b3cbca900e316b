"""Cache encoded rows on disk under a hash of everything they depend on.

Each source is one safetensors file: token ids and spans as flat arrays, rows as JSON text, facts as
metadata. A second process that needs the same rows waits for the first; damaged files are rebuilt.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from experiments.data.encoding import EncodedSource
from experiments.data.rendering import Encoded
from experiments.runtime import disk
from experiments.runtime.progress import log

_CODE = Path(__file__).parent


def cached(
    folder: Path, parts: dict[str, Any], build: Callable[[], EncodedSource]
) -> tuple[EncodedSource, bool]:
    """Return the encoded rows described by `parts`, and whether they came from disk.

    Args:
        folder: the cache folder; created if missing.
        parts: everything the rows depend on, as JSON values; a hash of this package's code is
            added.
        build: builds the rows on a cache miss.
    """
    description = json.dumps(parts | {"code": _code()}, sort_keys=True, default=str)
    path = folder / f"{hashlib.sha256(description.encode()).hexdigest()[:24]}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        stored = _load(path)
        if stored is not None:
            return stored, True
        source = build()
        _save(source, path, description)
        log(f"  encoded the rows and cached them in {path}")
    return source, False


def _code() -> str:
    """Hash the code that builds rows, so that rows from older code are never reused."""
    digest = hashlib.sha256()
    for path in sorted(_CODE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _save(source: EncodedSource, path: Path, description: str) -> None:
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for split, rows in source.splits.items():
        lengths = [len(e.ids) for e in rows]
        tensors[f"{split}/lengths"] = np.array(lengths, dtype=np.int32)
        ids = [np.frombuffer(e.ids, dtype=np.int32) for e in rows]
        tensors[f"{split}/ids"] = np.concatenate(ids) if ids else np.zeros(0, np.int32)
        tensors[f"{split}/spans"] = np.array(
            [(i, *span) for i, e in enumerate(rows) for span in e.trained], dtype=np.int32
        ).reshape(-1, 3)
        tensors[f"{split}/prompts"] = np.array([e.prompt_length for e in rows], dtype=np.int32)
        rows_json = json.dumps([e.row for e in rows], ensure_ascii=False).encode()
        tensors[f"{split}/rows"] = np.frombuffer(rows_json, dtype=np.uint8)
    metadata = {
        "facts": json.dumps(source.facts),
        "splits": json.dumps(list(source.splits)),
        "parts": description,
        "sums": _sums(tensors),
    }
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with disk.one_sentence(path):
            save_file(tensors, temporary, metadata=metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sums(tensors: dict[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _load(path: Path) -> EncodedSource | None:
    """Return the rows of a cache file, or None if it is missing or its checksum does not match."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        if _sums(tensors) != metadata["sums"]:
            raise ValueError("the checksum does not match")
        splits = {split: _rows(tensors, split) for split in json.loads(metadata["splits"])}
        return EncodedSource(splits, json.loads(metadata["facts"]))
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        log(f"  the cached rows in {path} are damaged ({error}); encoding them again")
        return None


def _rows(tensors: dict[str, np.ndarray[Any, Any]], split: str) -> list[Encoded]:
    def part(name: str) -> Any:
        return tensors[f"{split}/{name}"]

    rows: Sequence[Any] = json.loads(part("rows").tobytes())
    ends = np.cumsum(part("lengths")).tolist()
    prompts = part("prompts").tolist()
    spans: list[list[tuple[int, int]]] = [[] for _ in rows]
    for index, start, end in part("spans").tolist():
        spans[index].append((start, end))
    id_bytes = part("ids").tobytes()
    encoded = []
    for index, row in enumerate(rows):
        offset = ends[index - 1] if index else 0
        ids = array("i", id_bytes[4 * offset : 4 * ends[index]])
        encoded.append(Encoded(row, ids, tuple(spans[index]), prompts[index]))
    return encoded
