"""Compute the metrics of a finished run again from its saved answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from experiments import records
from experiments.config import RunConfig
from experiments.evaluation import item_scores
from experiments.records import Record, provenance
from experiments.runs import objectives
from experiments.runtime.progress import log
from experiments.toolcalls.parser import forms


def rescored(run: RunConfig, earlier: Record) -> bool:
    """Compute the configured metrics from a finished run's saved answers.

    The record keeps its other metrics.

    Returns:
        False if the run is not finished or not all of its answers were saved.
    """
    rows, items = records.rows(earlier), records.items(earlier)
    if earlier.status != "finished" or not rows:
        return False
    known = provenance.code_identity()["scoring_code"]
    before = [name for name in earlier.identity.get("scoring_code", {}) if name in known]
    names = list(dict.fromkeys([*run.eval.metrics, *before]))
    names = [name for name in names if name not in item_scores.ALWAYS]
    labels = [label for label in ("base", "tuned") if label in earlier.scores]
    for label in labels:
        own = [item for item in items if item["model"] == label and "text" in item]
        if len(own) != len(rows):
            return False
    for label in labels:
        own = [item for item in items if item["model"] == label and "text" in item]
        _score(earlier, label, list(zip(own, rows, strict=True)), names)
    new = [name for name in run.eval.metrics if name not in before]
    earlier.config["eval"]["metrics"] = [*earlier.config["eval"]["metrics"], *new]
    earlier.identity = provenance.of_metrics(
        earlier.identity | {"scoring_code": known}, [*names, *item_scores.ALWAYS]
    )
    scores = earlier.scores.get("tuned") or earlier.scores.get("base") or {}
    earlier.objective = objectives.value(run.eval, scores)
    earlier.provenance["scored_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    records.write_items(earlier, items)
    records.write(earlier)
    log(f"{earlier.folder}: scored again from its kept answers: {', '.join(names)}")
    return True


def _score(record: Record, label: str, kept: Sequence[Any], names: Sequence[str]) -> None:
    """Replace those scores of one model that are computed from its answers."""
    form = forms.from_facts(record.data.get("call_form"))
    means, counts = dict(record.scores[label]), dict(record.counts[label])
    replaced = {*names, *item_scores.ALWAYS}
    for key in list(means):
        if replaced & set(key.split("/")[:2]):
            del means[key], counts[key]
    for split in dict.fromkeys(asked["split"] for _, asked in kept):
        own = [(item, asked["row"]) for item, asked in kept if asked["split"] == split]
        items, rows = [item for item, _ in own], [row for _, row in own]
        made = item_scores.score(items, rows, names, form)
        means |= made.means
        counts |= made.counts
        record.evaluation[label].setdefault("defects", {})[split] = made.defects
    record.scores[label], record.counts[label] = means, counts
