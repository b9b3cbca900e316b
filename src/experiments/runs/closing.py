"""Close the record of a run: finished, or with the error that ended it."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from experiments import records, training
from experiments.errors import OutOfBudget, Pruned, RecordError
from experiments.records import Record, hub
from experiments.records.tracking import Tracker
from experiments.runs import failures, objectives, peak_memory, recording, run_folders, summary
from experiments.runs.model_and_rows import Loaded
from experiments.runs.model_scores import Scored
from experiments.runs.start import Start
from experiments.runtime import disk, distributed
from experiments.runtime.progress import log


@contextlib.contextmanager
def errors_recorded(start: Start, record: Record) -> Iterator[ExitStack]:
    """Close the record if the block raises; yield the stack of what is closed just before it.

    Only the main process writes; `run_as_other_process` handles the errors of the others.
    """
    at_close = ExitStack()
    try:
        with distributed.synchronised():
            yield at_close
    except (KeyboardInterrupt, Exception) as error:  # the only place where a failure is recorded
        if distributed.is_main_process():
            _close_after(error, start, record, at_close)
        raise


def _close_after(
    error: KeyboardInterrupt | Exception, start: Start, record: Record, at_close: ExitStack
) -> None:
    """Close the record after an error; raise another error if this one is only its consequence."""
    match error:
        case KeyboardInterrupt():
            _close_with_cause("interrupted", None, start, record, at_close)
            if start.job.number is None:
                summary.print_how_to_resume(record.folder)
        case OutOfBudget():
            _close("interrupted", error, start, record, at_close)
            hub.push_interrupted(start.run, record)
        case Pruned():
            log(f"  {error}")
            _close("pruned", None, start, record, at_close)
            _apply_retention(start)
        case _:
            explained = disk.explained(error, record.folder)
            _close_with_cause(failures.status_of(error), explained, start, record, at_close)
            if explained is not error:
                raise explained from error


def _close_with_cause(
    status: str, error: Exception | None, start: Start, record: Record, at_close: ExitStack
) -> None:
    """Close the record with the error that ended the run, in this or another process."""
    with run_folders.signals_ignored():
        status, cause = failures.cause(record, status, error)
        _close(status, cause, start, record, at_close)
    if cause is not None and cause is not error:
        raise cause from error


def finish(
    start: Start, record: Record, loaded: Loaded, scored: Sequence[Scored], at_close: ExitStack
) -> None:
    """Write the items and the finished record, upload them, and apply retention.

    The objective is a score of the last model in `scored`.

    Raises:
        ConfigError: the objective is not among the scores.
        RecordError: the folder cannot be written.
    """
    record.objective = objectives.value(start.run.eval, scored[-1].means)
    peak_memory.note_peak(record.memory)
    record.timing["load_seconds"] = loaded.seconds
    records.write_rows(record, scored[-1].rows)
    records.write_items(record, [item for model_scores in scored for item in model_scores.items])
    _close("finished", None, start, record, at_close)
    hub.push_finished(start.run, record)
    _apply_retention(start)


def finish_tracking(tracker: Tracker, record: Record) -> None:
    """Send the final scores of a finished run to the tracker, and close it."""
    tuned_scores = record.scores.get("tuned", {}) if record.status == "finished" else {}
    main_scores = {
        k: v for k, v in tuned_scores.items() if k.count("/") == 1 or k.endswith("/exact")
    }
    tracker.finish(main_scores, int(record.plan.get("steps", 0)))


def _close(
    status: str, error: Exception | None, start: Start, record: Record, at_close: ExitStack
) -> None:
    """Write the final record; a full disk must not hide the original error."""
    record.status = status
    record.finished_at = recording.now()
    record.timing["total_seconds"] = time.monotonic() - start.began
    if error is not None:
        record.error = summary.of_error(error)
    at_close.close()
    if status == "finished":
        records.write(record)
        return
    with contextlib.suppress(RecordError):
        records.write(record)
    log(f"  status {status}; record in {record.path}")


def _apply_retention(start: Start) -> None:
    """Remove the files that `trainer.keep` does not keep, once the record is finished."""
    from experiments.evaluation import progress_file

    shutil.rmtree(start.folder / progress_file.FOLDER, ignore_errors=True)
    keep = start.run.trainer.keep
    if keep in ("none", "adapter"):
        shutil.rmtree(start.folder / training.CHECKPOINTS, ignore_errors=True)
    if keep == "none":
        shutil.rmtree(start.folder / "adapter", ignore_errors=True)
