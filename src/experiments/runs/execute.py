"""Execute one run from its config to its record: claim a folder, train, score, write the record.

A finished record is reused, an unfinished run resumes from its checkpoint, and a failed run leaves
a record with the reason. Existing results on disk are never overwritten.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import config, records, reports, training
from experiments.config import RunConfig, inputs
from experiments.errors import ConfigError, Pruned, RecordError, TrainingError
from experiments.evaluation import metrics
from experiments.records import Record, hub
from experiments.runs import folders, following, summary
from experiments.runs.attempt import Attempt
from experiments.runs.folders import Job
from experiments.runtime import budget, distributed
from experiments.runtime.progress import say

# Parts of the identity that affect only the scores; a change in them does not void the training.
_AFTER_TRAINING = ("evaluation_code", "scoring_code", "held_out_sha256")


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


def check(run: RunConfig) -> None:
    """Check all settings that can be checked without loading the model or the data.

    Raises:
        ConfigError: a file or folder is missing, or a key of `lora.extra` or `trainer.extra`, a
            metric or an objective is unknown.
    """
    if refused := distributed.unsupported():
        raise ConfigError(f"{refused}.")
    inputs.check(run)
    batch, micro = run.trainer.batch_size, run.trainer.micro_batch_size
    assert batch and micro, "config.load resolves these"
    training.fitting(batch, micro, distributed.here().count)
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
    if run.hub.push:
        hub.check(run.hub)
    if run.lora.extra or run.trainer.extra:
        from experiments.models import adapters

        adapters.check_extra(run.lora)
        training.check_extra(run.trainer)


def refuse_wrong_targets(run: RunConfig) -> None:
    """Raise if a local model lacks the LoRA target modules, before anything is loaded."""
    if run.model.hub_id is None and run.model.adapter is None and run.trainer.max_steps != 0:
        from experiments import models

        models.refuse_wrong_targets(run.lora, models.find(run.model)[0])


def run_one(run: RunConfig, job: Job) -> Outcome:
    """Execute one run, or return its record if it has already finished.

    Raises:
        ExperimentError: an error that the user can fix; the record's status is `failed` or `oom`.
        Pruned: other trials do better; the record's status is `pruned`.
        OutOfBudget: `budget.hours` is used up; the record's status is `interrupted`.
        InUse: another process is executing this run.
        KeyboardInterrupt: the user stopped it; the record's status is `interrupted`.
    """
    check(run)
    if job.number is None:  # a sweep checks all its runs before the first
        refuse_wrong_targets(run)
    following.meet()
    run_id = config.run_id(run)
    ends_at = budget.ends_at()  # a sweep sets one deadline for all its runs
    if ends_at is None and run.budget.hours is not None:
        ends_at = job.began + 3600 * run.budget.hours
    with budget.ending(ends_at), folders.claimed(job, run_id):
        if run.resume_from is not None and job.number is None:
            hub.take_run(run, run_id, job.folder, beside=job.find_siblings)
        earlier = folders.earlier(run, run_id, job)
        settled = earlier is not None and earlier.status in records.SETTLED
        if not settled or job.number is None:  # for a reused run of a sweep, one line is enough
            summary.print_header(run, run_id)
        if earlier is not None and settled:
            return _reuse_or_repeat(run, run_id, job, earlier)
        if earlier is not None and earlier.status == "oom" and not run.retry_oom:
            raise TrainingError(
                f"{earlier.folder} ran out of memory before: lower trainer.micro_batch_size, or "
                "try it again with retry_oom=true."
            )
        budget.check(f"run {run_id} was not begun" if earlier is None else "the run did not go on")
        folder = earlier.folder if earlier is not None else folders.free_folder(job, run_id)
        record = Attempt(run, run_id, job, folder, earlier).make()
        return Outcome(record, objectives=job.objectives)


def _reuse_or_repeat(run: RunConfig, run_id: str, job: Job, earlier: Record) -> Outcome:
    """Reuse a settled record if its inputs and code are unchanged; else run in a new folder."""
    from experiments.runs import reuse

    attempt = Attempt(run, run_id, job, earlier.folder, earlier)
    if reuse.is_older(earlier):
        changed, why = ["code"], "it was made by an older version of the code"
    else:
        if earlier.provenance.get(reuse.INPUTS) == reuse.inputs(run):
            changed = reuse.changed(earlier, earlier.identity | reuse.code(run))
        else:
            attempt.prepare()
            changed = reuse.changed(earlier, attempt.identity)
        if earlier.status == "pruned":  # it was never scored, so scoring cannot differ
            changed = [name for name in changed if name not in _AFTER_TRAINING]
        if changed == ["scoring_code"] and reuse.rescored(run, earlier):
            changed = []
        why = f"{', '.join(changed)} changed since"
    if not changed and earlier.status == "pruned":
        raise Pruned(f"pruned before in {earlier.folder} (rerun=true trains it again).")
    if not changed:
        say(f"finished before in {earlier.folder}; its record is used (rerun=true trains it again)")
        if job.number is None:  # a sweep prints its table at the end
            say(reports.summarise(earlier.folder))
        hub.push_finished(run, earlier)
        return Outcome(earlier, reused=True, objectives=job.objectives)
    attempt.earlier = None
    again = "run again beside it"
    if set(changed) <= set(_AFTER_TRAINING) and earlier.status == "finished":
        if reuse.has_adapter(earlier):
            attempt.trained = earlier
            again = "its adapter is scored again beside it"
        else:
            again += ", since no adapter was kept that could be scored (trainer.keep=adapter)"
    say(f"{earlier.status} before in {earlier.folder}, but {why}: {again}")
    attempt.folder = folders.free_folder(job, run_id)
    return Outcome(attempt.make(), objectives=job.objectives)


def load_run(folder: Path, *, plain: bool = False) -> tuple[Any, Any]:
    """Load a finished run's base model with its adapter, for `generate` and `merge`.

    If the run used a device that is not available, load it in this device's native precision.

    Args:
        folder: the run's folder.
        plain: load the unquantized base weights even if the run trained on 4-bit weights.

    Returns:
        The `Base`, whose `model` is the tuned model, and the record.

    Raises:
        RecordError: the run is not finished or kept no adapter.
    """
    from experiments import models
    from experiments.models import adapters

    record = records.read(folder / records.FILE_NAME)
    if record.status != "finished":
        raise RecordError(f"{folder} is {record.status}, not finished: run it to its end first.")
    saved = folder / "adapter"
    if not saved.is_dir():
        raise RecordError(
            f"{folder} kept no adapter (trainer.keep): run it with trainer.keep=adapter."
        )
    run = _from_record(record)
    if plain:
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, quantization=None))
    run, precision = _on_this_device(run)
    if record.adapter["modules"]:
        base = models.load(run, precision)
        base.model = adapters.load(str(saved), base.model)
        return base, record
    spec = dataclasses.replace(
        run.model, path=str(saved), hub_id=None, embedded=None, revision=None
    )
    return models.load(dataclasses.replace(run, model=spec), precision), record


def _on_this_device(run: RunConfig) -> tuple[RunConfig, Any]:
    """Return the run on an available device, and its precision on that device."""
    from experiments import models

    try:
        return run, models.choose_precision(run)
    except ConfigError as error:
        anywhere = dataclasses.replace(
            run,
            hardware=config.HardwareConfig(),
            trainer=dataclasses.replace(run.trainer, precision="auto", attention="sdpa"),
        )
        precision = models.choose_precision(anywhere)
        say(f"  loaded in {precision.name} on {precision.device_name}, because: {error}")
        return anywhere, precision


def _from_record(record: Record) -> RunConfig:
    from omegaconf import OmegaConf

    made_as = json.loads(json.dumps(record.config))
    # Load with the attention kernels that the run used; the model may not support the config's.
    made_as["trainer"]["attention"] = record.identity.get("attention", "sdpa")
    return config.load(OmegaConf.create(made_as))
