"""The steps of one run: load, score the base model, train, score, write the record."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import config, records, reports
from experiments.config import RunConfig
from experiments.errors import ConfigError, OutOfBudget, Pruned, RecordError
from experiments.records import Record, hub, provenance
from experiments.records.tracking import Tracker
from experiments.runs import folders, following, libraries, memory, objectives, summary
from experiments.runs.folders import Job
from experiments.runtime import budget, disk, distributed
from experiments.runtime.progress import say


class Attempt:
    """One attempt to execute a run; it locks the run's folder for the duration."""

    def __init__(
        self, run: RunConfig, run_id: str, job: Job, folder: Path, earlier: Record | None
    ) -> None:
        self.run = run
        self.job = job
        self.folder = folder
        self.earlier = earlier
        self.identity: dict[str, Any] = {}
        self.began = time.monotonic()
        self.record = Record(run_id=run_id, name=run.name, job=job.number)
        self._prepared = False
        self.trained: Record | None = None
        """A finished run with the same training, whose adapter is scored instead of training."""

    def make(self) -> Record:
        """Execute the run and return its finished record; errors also leave a record."""
        with folders.locked(self.folder), folders.interruptible():
            self._start_record()
            try:
                self.prepare()
                summary.print_loaded(self.base, self.data)
                self._adopt_or_leave_checkpoints()
                following.bring(self.run, self.job, self.folder, self.identity)
                self._train_and_score()
                self._finish()
                hub.push_finished(self.run, self.record)
                self._apply_retention()
            except KeyboardInterrupt:
                self._break_off("interrupted", None)
                if self.job.number is None:
                    summary.print_how_to_go_on(self.folder)
                raise
            except OutOfBudget as stop:
                self._close("interrupted", stop)
                hub.push_interrupted(self.run, self.record)
                raise
            except Pruned as stop:
                say(f"  {stop}")
                self._close("pruned", None)
                self._apply_retention()
                raise
            except Exception as error:  # the only place where a failure is written to the record
                said = disk.explained(error, self.folder)
                self._break_off("oom" if memory.is_out_of_memory(error) else "failed", said)
                if said is not error:
                    raise said from error
                raise
        say(reports.summarise(self.folder))
        return self.record

    def prepare(self) -> None:
        """Load the model and the data, and compute the identity that the results depend on."""
        if self._prepared:
            return
        from experiments import models
        from experiments.models import adapters
        from experiments.runs import model_cache, reuse

        began = time.monotonic()
        run = self.run
        models.find(run.model)  # report a missing model before importing torch
        with libraries.imported_once():
            precision = models.choose_precision(run)
            libraries.import_all(trains=run.trainer.max_steps != 0)
        self.base, self.data = model_cache.load(run, precision, keep=self.job.number is not None)
        self.identity = {
            "data_fingerprint": self.data.fingerprint,
            "base_sha256": self.base.sha256,
            "adapter_sha256": adapters.fingerprint(run.model.adapter),
            **self.base.precision.computes_in,
            **reuse.code(run),
            "libraries": provenance.libraries(),
        }
        if run.trainer.max_steps != 0 and run.model.adapter is None:
            adapters.check_targets(run.lora, self.base.model)
        self._read_held_out_text()
        self.load_seconds = time.monotonic() - began
        self._prepared = True

    def _read_held_out_text(self) -> None:
        from experiments.evaluation import held_out

        text = held_out.read(self.run)
        found = held_out.windows(text, self.base) if text else []
        self.windows = found[: self.run.eval.loss_rows]
        if text is not None:
            self.identity["held_out_sha256"] = text.sha256

    def _start_record(self) -> None:
        record = self.record
        record.folder = self.folder
        record.started_at = _now()
        record.overrides = list(self.job.overrides)
        record.config = config.canonical(self.run)
        record.resolved_from = dict(self.run.resolved_from)
        record.provenance = {"rerun": self.run.rerun}
        if self.earlier is not None:  # the identity of its checkpoints
            record.identity = self.earlier.identity
        records.write(record)

    def _adopt_or_leave_checkpoints(self) -> None:
        """Keep checkpoints for resuming only if code and data are unchanged; else rename them."""
        from experiments import training
        from experiments.runs import reuse

        record = self.record
        folder = self.folder / training.CHECKPOINTS
        changed = provenance.differences(record.identity, self.identity) if record.identity else []
        # Checkpoints do not depend on the evaluation and scoring code.
        changed = [name for name in changed if name not in ("evaluation_code", "scoring_code")]
        if changed and folder.exists():
            aside = folder.with_name(f"{folder.name}_before_{datetime.now(UTC):%Y%m%dT%H%M%S}")
            folder.rename(aside)
            say(
                f"  {', '.join(changed)} changed since the checkpoints: they are kept in "
                f"{aside.name} and training starts anew"
            )
        record.identity = self.identity
        record.provenance |= provenance.of_run(self.base.precision.device_name)
        record.provenance[reuse.INPUTS] = reuse.inputs(self.run)
        record.hardware = self.base.precision.facts()
        asked = self.data.evaluation_rows(self.run.eval)
        record.data = self.data.counts | {"evaluation_rows": asked}
        record.model = {
            "source": self.base.source,
            "commit": self.base.commit,
            "parameters": self.base.parameters,
            "positions": self.base.positions,
            "notes": self.base.notes,
        }
        records.write(record)

    def _train_and_score(self) -> None:
        from experiments import training
        from experiments.evaluation import held_out, scoring
        from experiments.models import adapters, spectral_norms

        run, record, base = self.run, self.record, self.base
        trains = run.trainer.max_steps != 0
        self.items: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.held_out = None
        if self.windows:
            nll = held_out.losses(base.model, self.windows)
            self.held_out = scoring.HeldOut(self.windows, nll)
        if run.eval.base:
            self._score_base()
        if "base" in record.scores:
            objectives.refuse_unknown(run.eval, self.job, record.scores["base"])
        model = base.model
        if self.trained is not None:
            model = self._trained_before(self.trained)
        elif trains:
            attached = adapters.attach(run, model)
            distributed.tell(following.Adapt())
            model = attached.model
            record.adapter = {
                "trainable_parameters": attached.trainable_parameters,
                "scale": None if run.lora.method == "none" else run.lora.scale,
                "modules": attached.modules,
            }
            summary.print_adapter(record.adapter, base.parameters)
            if run.lora.method != "none":
                summary.print_left_out(attached.idle, adapters.left_out(model))
            self._train(model)
            record.adapter |= spectral_norms.of_trained(model)
        elif run.model.adapter is not None:
            model = adapters.load(run.model.adapter, model)
            distributed.tell(following.Adapt())
            record.adapter = {
                "trainable_parameters": 0,
                "scale": None,
                "modules": adapters.adapted_modules(model),
            }
        if trains or run.model.adapter is not None:
            began = time.monotonic()
            self._score(model, "tuned")
            record.timing["evaluate_seconds"] = time.monotonic() - began
        if trains:
            card = reports.model_card(record)
            adapters.save(
                model, base.tokenizer, self.folder / "adapter", base_source=base.source, card=card
            )
        self._keep = training.CHECKPOINTS

    def _trained_before(self, trained: Record) -> Any:
        """Return the model with a finished run's adapter, and copy that run's training facts."""
        from experiments.models import adapters

        record = self.record
        record.adapter, record.curve = trained.adapter, trained.curve
        record.plan, record.memory = trained.plan, trained.memory
        record.timing["train_seconds"] = trained.timing.get("train_seconds", 0.0)
        record.provenance["trained_in"] = trained.folder.name
        return adapters.load(str(trained.folder / "adapter"), self.base.model)

    def _score_base(self) -> None:
        """Score the untuned base model, or copy its scores from a finished sibling run."""
        twin = self._twin()
        if twin is not None:
            self.record.scores["base"] = twin.scores["base"]
            self.record.counts["base"] = twin.counts["base"]
            self.record.evaluation["base"] = twin.evaluation.get("base", {})
            self.record.provenance["base_scores_from"] = f"{twin.run_id} in {twin.folder.name}"
            self.items += [i for i in records.items(twin) if i["model"] == "base"]
            self.rows = records.rows(twin)
            say(f"  base scores are those of {twin.folder} (same base, data, code and evaluation)")
            return
        began = time.monotonic()
        self._score(self.base.model, "base")
        self.record.timing["evaluate_base_seconds"] = time.monotonic() - began

    def _twin(self) -> Record | None:
        """Return a finished sibling run that scored the same base model on the same rows."""
        if self.run.rerun or not self.job.find_siblings:
            return None
        for file in self.job.folder.parent.glob(f"*/{records.FILE_NAME}"):
            with contextlib.suppress(RecordError):
                other = records.read(file)
                if self._scored_the_same_base(other):
                    return other
        return None

    def _scored_the_same_base(self, other: Record) -> bool:
        if other.status != "finished" or "base" not in other.scores:
            return False
        changed = set(provenance.differences(other.identity, self.identity))
        changed -= {"adapter_sha256", "training_code"}
        same_questions = other.config["eval"] == self.record.config["eval"]
        return not changed and same_questions and bool(records.items(other))

    def _score(self, model: Any, label: str) -> None:
        """Score a model on every configured evaluation, and store the scores and items."""
        from experiments.evaluation import scoring

        spec = self.run.eval
        subject = scoring.Subject(model, self.base, label, spec, self.folder)
        scores = scoring.score(subject, self.data, self.held_out)
        self.record.scores[label] = scores.means
        self.record.counts[label] = scores.counts
        self.record.evaluation[label] = scores.facts | {"thinking": self.run.data.thinking}
        self.items += scores.items
        self.rows = scores.rows

    def _train(self, model: Any) -> None:
        from experiments import training
        from experiments.runs import planned_memory

        run, record = self.run, self.record
        steps = training.plan(run.trainer, len(self.data.train))
        rule = self.job.stop_rule
        if rule is not None and rule.pruner_name and not self.data.validation:
            raise ConfigError(
                f"hydra/sweeper/pruner={rule.pruner_name} compares validation losses, "
                "and there are no validation rows: set data.validation_rows or "
                "data.validation_share above 0, or leave the pruner out."
            )
        record.plan = dataclasses.asdict(steps)
        say(
            f"  steps = {steps.steps}, warm-up {steps.warmup_steps}, checkpoint every "
            f"{steps.save_steps}"
        )
        tracker = Tracker(
            run,
            run_id=record.run_id,
            sweep_dir=self.job.folder.parent,
            overrides=self.job.overrides,
            fresh=self.earlier is None,
        )
        self.tracker = tracker
        stopped: list[tuple[int, float]] = []

        def report_loss(step: int, value: float, rows: Sequence[float]) -> bool:
            if rule is None or not rule.report(step, value, rows) or step >= steps.steps:
                return False  # a run is not stopped at its last step, it finishes
            stopped.append((step, value))
            return True

        task = training.Task(
            *(run, model, self.base, self.data, self.folder),
            report=report_loss,
            log=tracker.log,
            saved=lambda checkpoint: hub.push_checkpoint(run, record, checkpoint),
        )
        record.plan["out_of_memory"] = task.adapted
        budget.check("the run stopped before training went on")
        try:
            with planned_memory.watched(record.memory, run, self.data, self.base, model):
                fit = following.together(task)
        finally:
            if rule is not None:
                rule.close()
        record.curve = fit.curve
        record.plan["selected_step"] = fit.selected_step
        record.plan["skipped_steps"] = fit.skipped_steps
        record.timing["train_seconds"] = fit.seconds
        if stopped:
            self._stop_early(*stopped[0])

    def _stop_early(self, step: int, value: float) -> None:
        name, record = objectives.DEFAULT, self.record
        record.objective = {"name": name, "direction": "minimize", "value": value}
        record.plan["stopped_at_step"] = step
        memory.note_peak(record.memory)
        raise Pruned(
            f"stopped at step {step} of {record.plan['steps']}: {name} {value:.4f} is behind the "
            "other trials."
        )

    def _finish(self) -> None:
        record = self.record
        scores = record.scores.get("tuned") or record.scores.get("base") or {}
        record.objective = objectives.value(self.run.eval, scores)
        memory.note_peak(record.memory)
        record.timing["load_seconds"] = self.load_seconds
        records.write_rows(record, self.rows)
        records.write_items(record, self.items)
        self._close("finished", None)

    def _break_off(self, status: str, error: Exception | None) -> None:
        """Close the record with the error that ended the run, in this or another process."""
        with folders.undisturbed():
            status, cause = following.verdict(self.record, status, error)
            self._close(status, cause)
        if cause is not None and cause is not error:
            raise cause from error

    def _close(self, status: str, error: Exception | None) -> None:
        """Write the final record; a full disk must not hide the original error."""
        record = self.record
        record.status = status
        record.finished_at = _now()
        record.timing["total_seconds"] = time.monotonic() - self.began
        if error is not None:
            record.error = summary.of_error(error)
        if (tracker := getattr(self, "tracker", None)) is not None:
            final = record.scores.get("tuned", {}) if status == "finished" else {}
            main = {k: v for k, v in final.items() if k.count("/") == 1 or k.endswith("/exact")}
            tracker.finish(main, int(record.plan.get("steps", 0)))
        if status == "finished":
            records.write(record)
            return
        with contextlib.suppress(RecordError):
            records.write(record)
        say(f"  status {status}; record in {record.path}")

    def _apply_retention(self) -> None:
        """Remove the files that `trainer.keep` does not keep, once the record is finished."""
        from experiments import training
        from experiments.evaluation import progress_file

        shutil.rmtree(self.folder / progress_file.FOLDER, ignore_errors=True)

        keep = self.run.trainer.keep
        if keep in ("none", "adapter"):
            shutil.rmtree(self.folder / training.CHECKPOINTS, ignore_errors=True)
        if keep == "none":
            shutil.rmtree(self.folder / "adapter", ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
