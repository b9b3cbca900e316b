"""Who is at work on a study: decided by locks, which go with their process, never by clocks.

Only a worker that shares no folder with this one is judged by its heart-beats, which the database
stamps with its own time.
"""

import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = ".workers"
# A trial without a worker's name is one whose process is asking, or died while it asked.
_ASKING = timedelta(minutes=10)


class Worker:
    """This process, as a lock file that says it lives."""

    def __init__(self, sweep_dir: Path, local: bool) -> None:
        self._folder = sweep_dir / FOLDER
        self._local = local
        self.token = uuid.uuid4().hex

    def begin(self) -> None:
        """Hold the lock."""
        from filelock import FileLock

        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._file(self.token))
        self._lock.acquire()

    def end(self) -> None:
        """Let go."""
        self._lock.release()
        self._file(self.token).unlink(missing_ok=True)

    def lives(self, trial: Any) -> bool:
        """Whether the worker that runs a trial is alive, as far as can be seen from here."""
        from filelock import FileLock, Timeout

        token = trial.user_attrs.get("worker")
        if token is None:
            began = trial.datetime_start
            return not self._local and began is not None and datetime.now() - began < _ASKING
        file = self._file(token)
        if not file.exists():
            return not self._local  # elsewhere; its heart-beats are looked at apart
        try:
            with FileLock(file, timeout=0):
                pass
        except Timeout:
            return True
        file.unlink(missing_ok=True)
        return False

    def _file(self, token: str) -> Path:
        return self._folder / f"{token}.lock"
