"""Score the base and the tuned model of a run; base scores of an equal run are copied."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments import config, records
from experiments.config import RunConfig
from experiments.config.data_config import RUN_SEED
from experiments.errors import RecordError
from experiments.records import Record, provenance
from experiments.runs.model_and_rows import Loaded
from experiments.runs.start import Start
from experiments.runtime import distributed
from experiments.runtime.progress import log

if TYPE_CHECKING:
    from experiments.evaluation.scoring import HeldOut, Losses


@dataclass(frozen=True)
class Scored:
    """The scores of one model, and the answers that they were computed from."""

    means: dict[str, float]
    counts: dict[str, int]
    facts: dict[str, Any]
    """How the answers were generated."""
    items: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float | None = None
    copied_from: str | None = None
    """The run that scored the same base model, if the scores were copied."""


def held_out_losses(loaded: Loaded) -> "HeldOut | None":
    """Return the held-out text with the base model's loss on it; None without a text."""
    from experiments.evaluation import held_out, scoring

    if not loaded.windows:
        return None
    nll = held_out.losses(loaded.base.model, loaded.windows)
    return scoring.HeldOut(loaded.windows, nll)


def score_base(start: Start, loaded: Loaded, held_out: "HeldOut | None") -> Scored:
    """Score the untuned base model, or copy its scores from a finished sibling run."""
    copied = distributed.on_main_process(lambda: _copied_base_scores(start, loaded))
    return copied or score(start, loaded, held_out, "base", loaded.base.model)


def score(
    start: Start, loaded: Loaded, held_out: "HeldOut | None", label: str, model: Any
) -> Scored:
    """Score a model (`label` is `base` or `tuned`) on every configured evaluation."""
    from experiments.evaluation import scoring

    began = time.monotonic()
    subject = scoring.Subject(model, loaded.base, label, start.run.eval, start.folder)
    scores = scoring.score(subject, loaded.data, held_out)
    facts = scores.facts | {"thinking": start.run.data.thinking}
    seconds = time.monotonic() - began
    return Scored(scores.means, scores.counts, facts, scores.items, scores.rows, seconds)


def add_test_curve(record: Record, scored: Scored, losses: "Mapping[int, Losses]") -> None:
    """Record the test losses by step, and add the parts of each row to its item.

    The last point contains the final scores, unless the last step was measured by itself.
    """
    points = {step: dict(at.means) for step, at in losses.items()}
    keys = {key for means in points.values() for key in means}
    keys |= {key for key in scored.means if _is_test_loss(key)}
    last = int(record.plan["steps"])
    points.setdefault(last, {key: scored.means[key] for key in keys if key in scored.means})
    record.test_curve = [{"step": step, **points[step]} for step in sorted(points)]
    for step, at in sorted(losses.items()):
        for split, parts in at.parts.items():
            of_split = [item for item in scored.items if item["split"] == split]
            # Rows that do not fit into the context come last, and have no loss.
            for item, row_parts in zip(of_split[: len(parts)], parts, strict=True):
                item.setdefault("step_parts", {})[str(step)] = row_parts


def _is_test_loss(key: str) -> bool:
    names = key.split("/")
    return "loss" in names[:2] and names[0] != "validation"


def _copied_base_scores(start: Start, loaded: Loaded) -> Scored | None:
    """Return the base scores of a finished sibling run on the same rows; None without one."""
    if start.run.rerun or not start.job.find_siblings:
        return None
    eval_config = config.canonical(start.run)["eval"]
    for file in start.job.folder.parent.glob(f"*/{records.FILE_NAME}"):
        with contextlib.suppress(RecordError):
            sibling = records.read(file)
            if _scored_the_same_base(sibling, start.run, loaded, eval_config):
                return _copy(sibling)
    return None


def _scored_the_same_base(
    sibling: Record, run: RunConfig, loaded: Loaded, eval_config: dict[str, Any]
) -> bool:
    if sibling.status != "finished" or "base" not in sibling.scores:
        return False
    changed = set(provenance.differences(sibling.identity, loaded.identity))
    changed -= {"adapter_sha256", "training_code"}
    if _differs_in_training_rows(sibling, run, loaded):
        changed.discard("data_fingerprint")
    same_evaluation = _of_base(sibling.config["eval"]) == _of_base(eval_config)
    return not changed and same_evaluation and bool(records.items(sibling))


def _differs_in_training_rows(sibling: Record, run: RunConfig, loaded: Loaded) -> bool:
    """Return whether two runs have the same data but for rows that the run's seed draws."""
    data = json.loads(json.dumps(dataclasses.asdict(run.data)))
    return (
        run.data.train_seed == RUN_SEED
        and config.without_nulls(sibling.config["data"]) | {"cache": None}
        == config.without_nulls(data) | {"cache": None}
        and sibling.data.get("max_length") == loaded.data.counts["max_length"]
        and sibling.data.get("evaluation_rows") == loaded.data.evaluation_rows(run.eval)
    )


def _of_base(eval_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that determine the scores of the base model, which has no steps."""
    return {
        key: value
        for key, value in config.without_nulls(eval_config).items()
        if key not in ("validation_steps", "test_steps")
    }


def _copy(sibling: Record) -> Scored:
    log(f"  base scores are those of {sibling.folder} (same base, data, code and evaluation)")
    return Scored(
        sibling.scores["base"],
        sibling.counts["base"],
        sibling.evaluation.get("base", {}),
        [item for item in records.items(sibling) if item["model"] == "base"],
        records.rows(sibling),
        copied_from=f"{sibling.run_id} in {sibling.folder.name}",
    )
