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
    current_code = provenance.code_identity()["scoring_code"]
    earlier_metrics = [
        name for name in earlier.identity.get("scoring_code", {}) if name in current_code
    ]
    names = list(dict.fromkeys([*run.eval.metrics, *earlier_metrics]))
    names = [name for name in names if name not in item_scores.ALWAYS]
    labels = [label for label in ("base", "tuned") if label in earlier.scores]
    for label in labels:
        answered_items = [item for item in items if item["model"] == label and "text" in item]
        if len(answered_items) != len(rows):
            return False
    for label in labels:
        answered_items = [item for item in items if item["model"] == label and "text" in item]
        _score(earlier, label, list(zip(answered_items, rows, strict=True)), names)
    new_metrics = [name for name in run.eval.metrics if name not in earlier_metrics]
    earlier.config["eval"]["metrics"] = [*earlier.config["eval"]["metrics"], *new_metrics]
    earlier.identity = provenance.of_metrics(
        earlier.identity | {"scoring_code": current_code}, [*names, *item_scores.ALWAYS]
    )
    scores = earlier.scores.get("tuned") or earlier.scores.get("base") or {}
    earlier.objective = objectives.value(run.eval, scores)
    earlier.provenance["scored_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    records.write_items(earlier, items)
    records.write(earlier)
    log(f"{earlier.folder}: scored again from its kept answers: {', '.join(names)}")
    return True


def _score(record: Record, label: str, items_and_rows: Sequence[Any], names: Sequence[str]) -> None:
    """Replace those scores of one model that are computed from its answers."""
    form = forms.from_facts(record.data.get("call_form"))
    means, counts = dict(record.scores[label]), dict(record.counts[label])
    replaced_metrics = {*names, *item_scores.ALWAYS}
    for key in list(means):
        if replaced_metrics & set(key.split("/")[:2]):
            del means[key], counts[key]
    for split in dict.fromkeys(saved_row["split"] for _, saved_row in items_and_rows):
        split_pairs = [
            (item, saved_row["row"])
            for item, saved_row in items_and_rows
            if saved_row["split"] == split
        ]
        items, rows = [item for item, _ in split_pairs], [row for _, row in split_pairs]
        scores = item_scores.score(items, rows, names, form)
        means |= scores.means
        counts |= scores.counts
        record.evaluation[label].setdefault("defects", {})[split] = scores.defects
    record.scores[label], record.counts[label] = means, counts
