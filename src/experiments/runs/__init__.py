"""One run from config to record: find or claim its folder, train, score, write it down.

A finished record is the answer and is reused; a half-written run goes on from its checkpoint; a
failed one leaves a record that says why. Nothing that stands on disk is overwritten.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import config, metrics, records, report
from experiments.config import RunConfig
from experiments.errors import ConfigError, RecordError
from experiments.progress import say
from experiments.records import Record
from experiments.runs import facts, folders
from experiments.runs.attempt import Attempt
from experiments.runs.folders import Job

__all__ = ["Job", "Outcome", "check", "load_run", "run_one"]


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    record: Record
    reused: bool = False

    @property
    def objective(self) -> float | None:
        """The number a sweeper sees."""
        value = self.record.objective.get("value")
        return None if value is None else float(value)


def check(run: RunConfig) -> None:
    """Check what needs the libraries but neither model nor data.

    Raises:
        ConfigError: a key of `lora.extra` or `trainer.extra`, a metric or an objective is unknown.
    """
    for name in run.eval.metrics:
        metrics.load(name)
    objective, given = run.eval.objective, run.eval.direction
    if objective is not None and given is None and metrics.direction(objective) is None:
        raise ConfigError(
            f"eval.objective={objective}: no metric declares its direction; set "
            "eval.direction=minimize or maximize."
        )
    if run.trainer.max_steps == 0 and run.model.adapter is None and not run.eval.base:
        raise ConfigError(
            "trainer.max_steps=0 with eval.base=false leaves nothing to score: name an adapter "
            "with model.adapter=DIR or set eval.base=true."
        )
    if run.lora.extra or run.trainer.extra:
        from experiments import adapters, training

        adapters.check_extra(run.lora)
        training.check_extra(run.trainer)


def run_one(run: RunConfig, job: Job) -> Outcome:
    """Make one run, or return the finished record that already answers it.

    Raises:
        ExperimentError: what the user can mend; the record then says `failed`.
        InUse: another process makes it at this moment.
        KeyboardInterrupt: the record then says `interrupted`.
    """
    check(run)
    run_id = config.run_id(run)
    with folders.claimed(job, run_id):
        facts.print_header(run, run_id)
        earlier = folders.earlier(run, run_id, job)
        if earlier is not None and earlier.status == "finished":
            return _reuse_or_repeat(run, run_id, job, earlier)
        folder = earlier.folder if earlier is not None else folders.free_folder(job, run_id)
        return Outcome(Attempt(run, run_id, job, folder, earlier).make())


def _reuse_or_repeat(run: RunConfig, run_id: str, job: Job, earlier: Record) -> Outcome:
    """Reuse a finished record if all that makes its numbers is unchanged; else run beside it."""
    attempt = Attempt(run, run_id, job, earlier.folder, earlier)
    attempt.prepare()
    changed = records.differences(earlier.identity, attempt.identity)
    if not changed:
        say(f"finished before in {earlier.folder}; its record is used (rerun=true trains it again)")
        say(report.summarise(earlier.folder))
        return Outcome(earlier, reused=True)
    say(
        f"finished before in {earlier.folder}, but {', '.join(changed)} changed since: "
        "run again beside it"
    )
    attempt.folder = folders.free_folder(job, run_id)
    attempt.earlier = None
    return Outcome(attempt.make())


def load_run(folder: Path) -> tuple[Any, Any]:
    """Load a finished run's base with its adapter, for `generate` and `merge`.

    Returns:
        The `Base` (its `model` is the tuned one) and the record.

    Raises:
        RecordError: the run is not finished or kept no adapter.
    """
    from experiments import adapters, models

    record = records.read(folder / records.FILE_NAME)
    if record.status != "finished":
        raise RecordError(f"{folder} is {record.status}, not finished: run it to its end first.")
    saved = folder / "adapter"
    if not saved.is_dir():
        raise RecordError(
            f"{folder} kept no adapter (trainer.keep): run it with trainer.keep=adapter."
        )
    run = _from_record(record)
    precision = models.choose_precision(run)
    if record.adapter["modules"]:
        base = models.load(run, precision)
        base.model = adapters.load(str(saved), base.model)
        return base, record
    spec = dataclasses.replace(
        run.model, path=str(saved), hub_id=None, embedded=None, revision=None
    )
    return models.load(dataclasses.replace(run, model=spec), precision), record


def _from_record(record: Record) -> RunConfig:
    from omegaconf import OmegaConf

    return config.load(OmegaConf.create(json.loads(json.dumps(record.config))))
