"""Find out which workers of a study are alive, by file locks that end with their process.

No clocks are compared. Only workers that share no folder with this one are judged by their
heartbeats, which the database stamps with its own time.
"""

import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = ".workers"
# A trial without a worker's token is being drawn; after this time its process has died.
_DRAWING_TIME = timedelta(minutes=10)


class Worker:
    """This process as a worker; its locked file shows others that it is alive."""

    def __init__(self, sweep_dir: Path, local: bool) -> None:
        self._folder = sweep_dir / FOLDER
        self._local = local
        self.token = uuid.uuid4().hex

    def begin(self) -> None:
        """Create and lock the worker's file."""
        from filelock import FileLock

        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._file(self.token))
        self._lock.acquire()

    def end(self) -> None:
        """Release the lock and remove the file."""
        self._lock.release()
        self._file(self.token).unlink(missing_ok=True)

    def is_alive(self, trial: Any) -> bool:
        """Return whether a trial's worker is alive; True for workers known only by heartbeats."""
        from filelock import FileLock, Timeout

        token = trial.user_attrs.get("worker")
        if token is None:
            began = trial.datetime_start
            return not self._local and began is not None and datetime.now() - began < _DRAWING_TIME
        file = self._file(token)
        if not file.exists():
            return not self._local  # a remote worker; its heartbeats are checked separately
        try:
            with FileLock(file, timeout=0):
                pass
        except Timeout:
            return True
        file.unlink(missing_ok=True)
        return False

    def _file(self, token: str) -> Path:
        return self._folder / f"{token}.lock"
