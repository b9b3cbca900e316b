"""Decide whether a finished run can be reused, in full or in part.

The inputs that determine a run's results (files, code, libraries, hardware) are compared by hash,
without loading a model. The model and the rows are loaded only if one of them changed or if no
hash was stored, to see whether the change matters.
"""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import models, records
from experiments.config import RunConfig, chat_templates
from experiments.data import benchmark_rows, sources
from experiments.evaluation import held_out, item_scores
from experiments.models import adapters, weights
from experiments.records import Record, provenance
from experiments.runs import objectives
from experiments.runtime import distributed
from experiments.runtime.progress import say
from experiments.toolcalls.parser import forms

INPUTS = "inputs_sha256"
"""Key of a record's provenance under which the hash of all inputs is stored."""
_GPUS = Path("/proc/driver/nvidia/gpus")


def code(run: RunConfig) -> dict[str, Any]:
    """Return the hashes of the code that this run uses."""
    asked = [*run.eval.metrics, *item_scores.ALWAYS]
    return provenance.of_metrics(provenance.code_identity(), asked)


def inputs(run: RunConfig) -> str:
    """Hash everything that determines a run's results except its config and its metrics' code.

    Raises:
        ConfigError: the model is missing.
        DataError: a data file is missing.
    """
    located = [*sources.locate(run.data).items(), *sources.locate_tests(run.data).items()]
    asked = [
        f for one in run.eval.benchmarks for f in benchmark_rows.located_files(one, run.eval.path)
    ]
    text = held_out.read(run)
    read = {
        "model": _model(run),
        "adapter": adapters.fingerprint(run.model.adapter),
        "rows": [(name, one.files, one.commit) for name, one in located],
        "benchmarks": [_sha256(file) for file in asked],
        "held_out": text and text.sha256,
        "machine": _machine(run),
        "code": {k: v for k, v in code(run).items() if k != "scoring_code"},
        "libraries": provenance.libraries(),
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def _model(run: RunConfig) -> list[str]:
    folder, commit = models.find(run.model)
    files = sorted(f for f in folder.iterdir() if f.suffix in (".json", ".jinja", ".txt", ".model"))
    if run.model.chat_template and (template := chat_templates.located(run.model.chat_template)):
        files.append(template)
    hashes = [f"{file.name} {_sha256(file)}" for file in files if file.is_file()]
    return [weights.identity(folder, run.model.quantization), str(commit), *hashes]


def _machine(run: RunConfig) -> dict[str, Any]:
    """Return the hardware facts that determine the device and the precision."""
    gpus = sorted(_GPUS.glob("*/information"))
    return {
        "hardware": dataclasses.asdict(run.hardware),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "gpus": [file.read_text("utf-8", "replace").partition("IRQ")[0] for file in gpus],
        "machine": [platform.system(), platform.machine(), provenance.cpu()],
        "processes": distributed.here().count,
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def changed(earlier: Record, identity: dict[str, Any]) -> list[str]:
    """Return the names of what changed since a record, counting only the metrics configured now."""
    before = dict(earlier.identity)
    asked = identity["scoring_code"]
    if isinstance(scored := before.get("scoring_code"), dict):
        before["scoring_code"] = {k: v for k, v in scored.items() if k in asked}
    return provenance.differences(before, identity)


def is_older(earlier: Record) -> bool:
    """Return whether a record predates the code hashes by part, so that it cannot be compared."""
    return not set(provenance.KEYS) <= set(earlier.identity)


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
    say(f"{earlier.folder}: scored again from its kept answers: {', '.join(names)}")
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


def has_adapter(earlier: Record) -> bool:
    """Return whether a finished run's adapter exists, so that it need not be trained again."""
    return (
        earlier.status == "finished"
        and bool(earlier.adapter.get("modules"))
        and bool(earlier.curve)
        and (earlier.folder / "adapter" / "adapter_config.json").is_file()
        and distributed.here().count == 1
    )
