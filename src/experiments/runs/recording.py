"""Fill the record of a run in progress: its config, what was loaded, and the scores."""

from datetime import UTC, datetime

from experiments import config, records, training
from experiments.records import Record, provenance
from experiments.runs import fingerprint
from experiments.runs.model_and_rows import Loaded
from experiments.runs.model_scores import Scored
from experiments.runs.start import Start
from experiments.runtime import distributed
from experiments.runtime.progress import log


def begin(start: Start) -> Record:
    """Return the record of a run that starts, with the status `running`, and write it.

    Raises:
        RecordError: the folder cannot be written.
    """
    record = Record(run_id=start.run_id, name=start.run.name, job=start.job.number)
    record.folder = start.folder
    record.started_at = now()
    record.overrides = list(start.job.overrides)
    record.config = config.canonical(start.run)
    record.resolved_from = dict(start.run.resolved_from)
    record.provenance = {"rerun": start.run.rerun}
    if start.earlier is not None:  # the identity of its checkpoints
        record.identity = start.earlier.identity
    distributed.on_main_process(lambda: records.write(record))
    return record


def add_loaded(record: Record, start: Start, loaded: Loaded) -> None:
    """Add the model, the rows and the identity, and write the record.

    Checkpoints that depend on another identity are renamed, and training starts over.
    """
    base, data = loaded.base, loaded.data
    _keep_or_rename_checkpoints(record, loaded)
    record.identity = loaded.identity
    record.provenance |= provenance.of_run(base.precision.device_name)
    record.provenance[fingerprint.INPUTS] = fingerprint.inputs(start.run)
    record.hardware = base.precision.facts()
    record.data = data.counts | {"evaluation_rows": data.evaluation_rows(start.run.eval)}
    record.model = {
        "source": base.source,
        "commit": base.commit,
        "parameters": base.parameters,
        "positions": base.positions,
        "notes": base.notes,
    }
    records.write(record)


def _keep_or_rename_checkpoints(record: Record, loaded: Loaded) -> None:
    """Keep checkpoints for resuming only if code and data are unchanged."""
    folder = record.folder / training.CHECKPOINTS
    changed = provenance.differences(record.identity, loaded.identity) if record.identity else []
    # Checkpoints do not depend on the evaluation and scoring code.
    changed = [name for name in changed if name not in ("evaluation_code", "scoring_code")]
    if not changed or not folder.exists():
        return
    renamed = folder.with_name(f"{folder.name}_before_{datetime.now(UTC):%Y%m%dT%H%M%S}")
    folder.rename(renamed)
    log(
        f"  {', '.join(changed)} changed since the checkpoints: they are kept in {renamed.name} "
        "and training starts over"
    )


def add_scores(record: Record, label: str, scored: Scored) -> None:
    """Add the scores of the base or the tuned model."""
    record.scores[label] = scored.means
    record.counts[label] = scored.counts
    record.evaluation[label] = scored.facts
    if scored.copied_from is not None:
        record.provenance["base_scores_from"] = scored.copied_from
    if scored.seconds is not None:
        name = "evaluate_base_seconds" if label == "base" else "evaluate_seconds"
        record.timing[name] = scored.seconds


def add_earlier_training(record: Record, trained: Record) -> None:
    """Add the training of a finished run whose adapter is scored again."""
    record.adapter, record.curve = trained.adapter, trained.curve
    record.plan, record.memory = trained.plan, trained.memory
    record.timing["train_seconds"] = trained.timing.get("train_seconds", 0.0)
    record.provenance["trained_in"] = trained.folder.name


def now() -> str:
    """Return the time in the form that records use."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
