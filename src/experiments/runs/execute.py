"""Execute one run from its config to its record: find or reuse, load, score, train, score, write.

A finished record is reused, an unfinished run resumes from its checkpoint, and a failed run leaves
a record with the reason. Existing results on disk are never overwritten.

With several processes, the main process decides how a run starts and broadcasts it; every process
then calls `execute`, in which decisions and files are left to the main process
(`distributed.on_main_process`).
"""

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import config, reports
from experiments.config import RunConfig
from experiments.records import Record, hub
from experiments.runs import (
    adapter_training,
    checks,
    closing,
    failures,
    model_and_rows,
    model_scores,
    objectives,
    recording,
    reuse,
    run_folders,
    summary,
)
from experiments.runs.model_and_rows import Loaded
from experiments.runs.run_folders import Job
from experiments.runs.start import Start
from experiments.runtime import budget, distributed
from experiments.runtime.progress import log

if TYPE_CHECKING:
    from experiments.evaluation.scoring import Losses


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    record: Record
    reused: bool = False

    objectives: Sequence[str] = ()

    @property
    def objective(self) -> float | None:
        """The value of the run's objective, or None without one."""
        value = self.record.objective.get("value")
        return None if value is None else float(value)

    @property
    def answer(self) -> float | list[float] | None:
        """What the sweeper receives: the objective, or the scores that a search optimises."""
        if not self.objectives:
            return self.objective
        scores = self.record.scores.get("tuned") or self.record.scores.get("base") or {}
        return [float(scores[name]) for name in self.objectives]


def run_one(run: RunConfig, job: Job) -> Outcome:
    """Execute one run, or return its record if it has already finished.

    With several processes, only the main process calls this; the others call
    `run_as_other_process`.

    Raises:
        ExperimentError: an error that the user can fix; the record's status is `failed` or `oom`.
        Pruned: other trials do better; the record's status is `pruned`.
        OutOfBudget: `budget.hours` is used up; the record's status is `interrupted`.
        InUse: another process is executing this run.
        KeyboardInterrupt: the user stopped it; the record's status is `interrupted`.
    """
    checks.check(run)
    if job.number is None:  # a sweep checks all its runs before the first
        checks.refuse_wrong_targets(run)
    distributed.start()
    run_id = config.run_id(run)
    with budget.ending(_deadline(run, job)), run_folders.claimed(job, run_id):
        if run.resume_from is not None and job.number is None:
            hub.take_run(run, run_id, job.folder, as_sibling=job.find_siblings)
        record_or_start = reuse.find(run, run_id, job)
        if isinstance(record_or_start, Record):
            return Outcome(record_or_start, reused=True, objectives=job.objectives)
        start = replace(record_or_start, ends_at=budget.ends_at())
        with run_folders.locked(start.folder), run_folders.interruptible():
            distributed.broadcast(start.for_other_processes())
            record = execute(start)
        log(reports.summarise(record.folder))
    return Outcome(record, objectives=job.objectives)


def _deadline(run: RunConfig, job: Job) -> float | None:
    """Return the deadline of the sweep, else of the run, in seconds since the epoch."""
    ends_at = budget.ends_at()  # a sweep sets one deadline for all its runs
    if ends_at is None and run.budget.hours is not None:
        ends_at = job.began + 3600 * run.budget.hours
    return ends_at


def execute(start: Start) -> Record:
    """Load, score the base, adapt, train, score and write; return the finished record.

    Every process of the run calls it with the same start. Errors also leave a record.
    """
    record = recording.begin(start)
    with closing.errors_recorded(start, record) as at_close:
        keep = start.job.number is not None
        loaded = model_and_rows.load_in_all_processes(start.run, start.loaded, keep=keep)
        summary.print_loaded(loaded.base, loaded.data)
        distributed.on_main_process(lambda: recording.add_loaded(record, start, loaded))
        held_out = model_scores.held_out_losses(loaded)
        scored = []
        if start.run.eval.base:
            base = model_scores.score_base(start, loaded, held_out)
            scored.append(base)
            recording.add_scores(record, "base", base)
            distributed.on_main_process(
                lambda: objectives.refuse_unknown(start.run.eval, start.job, base.means)
            )
        model, test_losses = _tuned_model(start, record, loaded, at_close)
        if model is not None:
            scored.append(model_scores.score(start, loaded, held_out, "tuned", model))
            recording.add_scores(record, "tuned", scored[-1])
            if start.run.eval.test_steps is not None:
                model_scores.add_test_curve(record, scored[-1], test_losses)
        if start.run.trainer.max_steps != 0:
            distributed.on_main_process(
                lambda: adapter_training.save_adapter(record, loaded, model)
            )
        distributed.on_main_process(lambda: closing.finish(start, record, loaded, scored, at_close))
    return record


def _tuned_model(
    start: Start, record: Record, loaded: Loaded, at_close: ExitStack
) -> tuple[Any, "dict[int, Losses]"]:
    """Return the model with its trained or loaded adapter, and the test losses of its training.

    The model is None if only the base is scored.
    """
    if start.trained is not None:
        recording.add_earlier_training(record, start.trained)
        return adapter_training.load_adapter(str(start.trained.folder / "adapter"), loaded), {}
    if start.run.trainer.max_steps != 0:
        model = adapter_training.attach_adapter(start, record, loaded)
        adapter_training.plan_steps(start, record, loaded)
        tracker = adapter_training.open_tracker(start)
        at_close.callback(closing.finish_tracking, tracker, record)
        return model, adapter_training.train(start, record, loaded, model, tracker)
    if start.run.model.adapter is not None:
        return adapter_training.load_given_adapter(start.run.model.adapter, record, loaded), {}
    return None, {}


def run_as_other_process() -> None:
    """Execute the runs that the main process starts, until it ends; the other processes call this.

    They print nothing. The main process handles Ctrl-C: it closes the record, and its exit ends the
    others.
    """
    warnings.simplefilter("ignore")  # the main process prints all warnings
    logging.disable(logging.WARNING)
    with Path(os.devnull).open("w") as devnull, contextlib.redirect_stdout(devnull):
        distributed.start()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, signal.SIG_IGN)
        while (start := _next_start()) is not None:
            _take_part_in(start)
        distributed.end()


def _next_start() -> Start | None:
    try:
        return distributed.broadcast(None)
    except RuntimeError:  # the main process has exited and printed the reason
        sys.exit(1)


def _take_part_in(start: Start) -> None:
    try:
        with budget.ending(start.ends_at):
            execute(start)
    except Exception as error:
        if distributed.out_of_sync():
            failures.write_own_error(start.folder, error)
            raise
        # Every process raised it, and the main process has recorded and printed it.
