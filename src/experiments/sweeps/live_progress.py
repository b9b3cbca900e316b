"""Show a running sweep's progress: a bar on a terminal, else a line whenever a run ends."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import RecordError
from experiments.runtime import progress
from experiments.runtime.progress import log
from experiments.sweeps import plan, status

# Polling interval in seconds: reading a record takes a millisecond, a run seconds to hours.
_POLL_SECONDS = 3.0


@contextlib.contextmanager
def shown(sweep_dir: Path) -> Iterator[None]:
    """Show the progress of a sweep for the duration of the block."""
    done = threading.Event()
    with progress.live() if sys.stderr.isatty() else contextlib.nullcontext() as bar:
        thread = threading.Thread(target=_watch, args=(sweep_dir, done, bar), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _watch(sweep_dir: Path, done: threading.Event, bar: Any) -> None:
    last_settled = None
    task = None if bar is None else bar.add_task(sweep_dir.name, total=None)
    ended = False
    while not ended:
        ended = done.wait(_POLL_SECONDS)
        with contextlib.suppress(RecordError):  # the sweep itself reports such errors
            current, planned = status.read(sweep_dir), plan.read(sweep_dir)
            if bar is not None:  # also updated at the end, because the bar stays on the screen
                total = planned.total if planned else None
                bar.update(task, completed=current.settled, total=total, description=str(current))
            elif not ended and last_settled not in (None, current.settled):
                log(f"sweep {sweep_dir.name}: {current}")
            last_settled = current.settled
