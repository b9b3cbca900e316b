"""Write files and folders atomically, and report a full disk as a one-sentence error."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments.errors import ExperimentError, RecordError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers for a full disk, an exceeded quota and an exceeded file size limit."""
# Messages of libraries that raise without an errno: safetensors, SQLite, torch.save.
_FULL_DISK_MESSAGE = re.compile(
    r"no space left on device|disk quota exceeded|file too large|database or disk is full"
    r"|pytorchstreamwriter failed writing|inline_container.*unexpected pos",
    re.IGNORECASE | re.DOTALL,
)
_RUN_ADVICE = (
    "choose another folder with hydra.run.dir=DIR, then rerun the same command to resume from the "
    "last checkpoint"
)


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, reports a full disk.

    >>> is_full(OSError(28, "No space left on device")), is_full(OSError(2, "No such file"))
    (True, False)
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if _FULL_DISK_MESSAGE.search(str(error)) and not isinstance(error, ExperimentError):
            return True
        error = error.__cause__ or error.__context__
    return False


def explained(error: Exception, place: Path) -> Exception:
    """Return a one-sentence RecordError if an error reports a full disk, else the error itself.

    Args:
        error: any error raised by a library.
        place: the folder that was written to.
    """
    if isinstance(error, ExperimentError) or not is_full(error):
        return error
    filename = getattr(error, "filename", None)
    location = Path(str(filename)) if filename else place
    return RecordError(
        f"the disk is full: {location} could not be written ({free(location)}); free some space, "
        "then rerun the same command to resume from the last complete checkpoint."
    )


def user_cache() -> Path:
    """Return this package's folder in the user's cache folder; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "experiments"


def free(place: Path) -> str:
    """Return the free space for a path that may not exist yet, as text in MB."""
    existing = next((p for p in (place, *place.absolute().parents) if p.is_dir()), Path("/"))
    return f"{shutil.disk_usage(existing).free / 1e6:,.0f} MB free in {existing}"


@contextlib.contextmanager
def one_sentence(place: Path) -> Iterator[None]:
    """Convert errors about a full disk to one sentence; other errors pass unchanged.

    Raises:
        RecordError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        converted = explained(error, place)
        if converted is error:
            raise
        raise converted from error


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to write into; it replaces `folder` if the block succeeds."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_atomically(path: Path, content: bytes, *, advice: str = _RUN_ADVICE) -> None:
    """Write a file atomically: a reader sees the old content or the new one, never a part.

    Args:
        path: the file.
        content: its bytes.
        advice: for the error message, an alternative to freeing disk space.

    Raises:
        RecordError: the disk is full or the folder is not writable.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno()) if partial.is_file() else None
        partial.replace(path)
    except OSError as error:
        if partial.is_file():
            with contextlib.suppress(OSError):
                partial.unlink()
        reason = error.strerror
        if error.errno in FULL:
            reason = f"the disk is full, {free(path.parent)}"
        raise RecordError(
            f"{path} could not be written ({reason}): free some space or {advice}."
        ) from error
