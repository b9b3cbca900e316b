"""Find an earlier record of a run, and decide what of it is reused: all, its adapter, or nothing.

The inputs that determine a run's results (files, code, libraries, hardware) are compared by hash,
without loading a model. The model and the rows are loaded only if one of them changed or if no
hash was stored, to see whether the change matters.
"""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from experiments import records, reports
from experiments.config import RunConfig
from experiments.errors import Pruned, TrainingError
from experiments.records import Record, hub, provenance
from experiments.runs import fingerprint, model_and_rows, rescoring, run_folders, summary
from experiments.runs.model_and_rows import Loaded
from experiments.runs.run_folders import Job
from experiments.runs.start import Start
from experiments.runtime import budget
from experiments.runtime.progress import log

# Parts of the identity that affect only the scores; a change in them does not void the training.
_AFTER_TRAINING = ("evaluation_code", "scoring_code", "held_out_sha256")


@dataclass(frozen=True)
class _Comparison:
    """What changed since a record."""

    changed: list[str]
    """Names of the parts of the identity that differ."""
    reason: str
    loaded: Loaded | None = None
    """Model and rows, if they had to be loaded to compare."""


def find(run: RunConfig, run_id: str, job: Job) -> Record | Start:
    """Return the record of a finished run to reuse, else the start of a new or resumed run.

    Raises:
        Pruned: the run was pruned before.
        TrainingError: the run ran out of memory before.
        OutOfBudget: `budget.hours` is spent.
        RecordError: a record or a folder cannot be read or written.
    """
    earlier = _best_of(run, run_folders.earlier(run, run_id, job))
    settled = earlier is not None and earlier.status in records.SETTLED
    if not settled or job.number is None:  # for a reused run of a sweep, one line is enough
        summary.print_header(run, run_id)
    if earlier is None:
        budget.check(f"run {run_id} was not begun")
        return Start(run, run_id, job, run_folders.free_folder(job, run_id))
    if settled:
        return _reuse_or_repeat(run, run_id, job, earlier)
    if earlier.status == "oom" and not run.retry_oom:
        raise TrainingError(
            f"{earlier.folder} ran out of memory before: lower trainer.micro_batch_size, or "
            "try it again with retry_oom=true."
        )
    budget.check("the run was not resumed")
    return Start(run, run_id, job, earlier.folder, earlier)


def _best_of(run: RunConfig, candidates: list[Record]) -> Record | None:
    """Return the settled record that was made from the present inputs, else the first record.

    A run has several records if its data or its model's files changed in between, and changed back.
    """
    settled = [record for record in candidates if record.status in records.SETTLED]
    if len(settled) > 1:
        inputs = fingerprint.inputs(run)
        same = [record for record in settled if record.provenance.get(fingerprint.INPUTS) == inputs]
        candidates = [*same, *candidates]
    return next(iter(candidates), None)


def _reuse_or_repeat(run: RunConfig, run_id: str, job: Job, earlier: Record) -> Record | Start:
    """Return a settled record if its inputs and code are unchanged, else a start beside it."""
    began = time.monotonic()
    comparison = _compare(run, job, earlier)
    if not comparison.changed:
        return _reused(run, job, earlier)
    trained, action = None, "run again beside it"
    if set(comparison.changed) <= set(_AFTER_TRAINING) and earlier.status == "finished":
        if run.eval.test_steps is not None:
            action += ", because the losses at eval.test_steps are measured during training"
        elif has_adapter(earlier):
            trained, action = earlier, "its adapter is scored again beside it"
        else:
            action += ", since no adapter was kept that could be scored (trainer.keep=adapter)"
    log(f"{earlier.status} before in {earlier.folder}, but {comparison.reason}: {action}")
    start = Start(
        run, run_id, job, run_folders.free_folder(job, run_id), trained=trained, began=began
    )
    return dataclasses.replace(start, loaded=comparison.loaded)


def _reused(run: RunConfig, job: Job, earlier: Record) -> Record:
    if earlier.status == "pruned":
        raise Pruned(f"pruned before in {earlier.folder} (rerun=true trains it again).")
    log(f"finished before in {earlier.folder}; its record is used (rerun=true trains it again)")
    if job.number is None:  # a sweep prints its table at the end
        log(reports.summarise(earlier.folder))
    hub.push_finished(run, earlier)
    return earlier


def _compare(run: RunConfig, job: Job, earlier: Record) -> _Comparison:
    """Return what changed since a settled record; a change of scoring code alone is made good."""
    if is_older(earlier):
        return _Comparison(["code"], "it was made by an older version of the code")
    if earlier.provenance.get(fingerprint.INPUTS) == fingerprint.inputs(run):
        loaded, identity = None, earlier.identity | fingerprint.code(run)
    else:
        loaded = model_and_rows.load(run, keep=job.number is not None)
        identity = loaded.identity
    changed_parts = changed(earlier, identity)
    if earlier.status == "pruned":  # it was never scored, so scoring cannot differ
        changed_parts = [name for name in changed_parts if name not in _AFTER_TRAINING]
    if changed_parts == ["scoring_code"] and rescoring.rescored(run, earlier):
        changed_parts = []
    return _Comparison(changed_parts, f"{', '.join(changed_parts)} changed since", loaded)


def changed(earlier: Record, identity: dict[str, Any]) -> list[str]:
    """Return the names of what changed since a record, counting only the metrics configured now."""
    earlier_identity = dict(earlier.identity)
    configured = identity["scoring_code"]
    if isinstance(earlier_scoring := earlier_identity.get("scoring_code"), dict):
        earlier_identity["scoring_code"] = {
            k: v for k, v in earlier_scoring.items() if k in configured
        }
    return provenance.differences(earlier_identity, identity)


def is_older(earlier: Record) -> bool:
    """Return whether a record predates the code hashes by part, so that it cannot be compared."""
    return not set(provenance.KEYS) <= set(earlier.identity)


def has_adapter(earlier: Record) -> bool:
    """Return whether a finished run's adapter exists, so that it need not be trained again."""
    return (
        earlier.status == "finished"
        and bool(earlier.adapter.get("modules"))
        and bool(earlier.curve)
        and (earlier.folder / "adapter" / "adapter_config.json").is_file()
    )
