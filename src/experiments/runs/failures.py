"""Find out which process of a distributed run failed first, and record its error.

If a process other than the main one fails, it writes its error to the record, because the main
process may be waiting in a collective operation at that moment.
"""

import contextlib
import sys
import time
from pathlib import Path

from experiments import records
from experiments.errors import RecordError, TrainingError
from experiments.records import Record
from experiments.runs import peak_memory, summary
from experiments.runtime import distributed

# A process that fails closes its connections first and exits a moment later.
_SECONDS_TO_EXIT = 0.5


def cause(record: Record, status: str, error: Exception | None) -> tuple[str, Exception | None]:
    """Return the status and the error of a run: the main process's, unless another failed first.

    When one process ends, the launcher stops all others, which looks like Ctrl-C to them. A broken
    connection is likewise a consequence, not the cause.
    """
    if distributed.world_size() == 1:
        return status, error
    if distributed.out_of_sync():
        time.sleep(_SECONDS_TO_EXIT)
    other_record = _written_by_another(record.path)
    if other_record is not None:
        error_entry = other_record.error or {}
        subject = f"process {error_entry['process']} of this run failed"
        return other_record.status, TrainingError(
            f"{subject}: {error_entry['type']}: {error_entry['message']}"
        )
    if distributed.ended():
        return "failed", TrainingError(
            "another process of this run ended without an error message (killed, or out of "
            "memory): look at the system's log, then rerun the same command to resume from the "
            "last checkpoint."
        )
    return status, error


def _written_by_another(path: Path) -> Record | None:
    """Return the record if another process has written its error to it."""
    with contextlib.suppress(RecordError):
        record = records.read(path)
        if (record.error or {}).get("process"):
            return record
    return None


def write_own_error(folder: Path, error: Exception) -> None:
    """Write this process's error to the run's record, unless another process ended the run.

    Raises:
        SystemExit: another process has written its error or was killed.
    """
    if not (folder / records.FILE_NAME).is_file():
        return
    record = records.read(folder / records.FILE_NAME)
    if record.status != "running" or distributed.ended():
        sys.exit(1)
    record.status = status_of(error)
    record.error = summary.of_error(error)
    records.write(record)


def status_of(error: Exception) -> str:
    """Return the status of a run that ended with an error: `oom` or `failed`."""
    return "oom" if peak_memory.is_out_of_memory(error) else "failed"
