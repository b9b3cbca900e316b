"""Compare two runs part by part, with their scores and curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import RecordError
from experiments.records import Record, archive, provenance
from experiments.reports.explain import outcome, trees
from experiments.reports.explain.outcome import Curve, Score
from experiments.reports.explain.trees import Part
from experiments.reports.scores import Kind, Run

_IDENTITY_OF_DATA = "data_fingerprint"
# Keys that describe where a record came from, not what determined its numbers.
_NOT_COMPARED = (
    *("command", "rerun", "base_scores_from", "inputs_sha256", "scored_at", "trained_in"),
)


@dataclass(frozen=True)
class ComparedRun:
    """One of the two runs."""

    path: Path
    run: Run

    @property
    def kind(self) -> Kind:
        """The model whose scores are compared: the tuned one, or the base if none was tuned."""
        return "tuned" if self.run.record.scores.get("tuned") else "base"


@dataclass(frozen=True)
class Explained:
    """The differences between two runs, and how much is the same."""

    a: ComparedRun
    b: ComparedRun
    parts: list[Part]
    """Config, data, environment, training and answers, in this order."""
    identity: list[str]
    """Names of the identity parts that differ: what affects the results besides the config."""
    scores: list[Score]
    base_scores: list[Score]
    """Scores of the untuned model, if both runs have them."""
    curves: list[Curve]

    @property
    def same_inputs(self) -> bool:
        """Whether config and identity imply that both runs should give the same numbers."""
        return not self.identity and not self.parts[0].rows


def explain(a: Path, b: Path) -> Explained:
    """Return the differences between two runs.

    Args:
        a: a run's folder or a record file.
        b: as `a`; differences are b - a.

    Raises:
        RecordError: a path does not exist, is broken, or is not exactly one run.
    """
    one, other = ComparedRun(a, _run(a)), ComparedRun(b, _run(b))
    kinds = (one.kind, other.kind)
    base = outcome.scores(one.run, other.run, ("base", "base")) if kinds != ("base", "base") else []
    return Explained(
        one,
        other,
        _parts(one, other),
        provenance.differences(one.run.record.identity, other.run.record.identity),
        outcome.scores(one.run, other.run, kinds),
        base,
        outcome.curves(one.run.record.curve, other.run.record.curve),
    )


def _run(path: Path) -> Run:
    if not archive.holds(path):
        raise RecordError(
            f"explain {path}: there is no such file or folder; name the folder of a run, or one "
            "record of a report, outputs/reports/NAME/runs/ID.json."
        )
    return Run(archive.read_one(path, "explain"))


def _parts(a: ComparedRun, b: ComparedRun) -> list[Part]:
    one, other = a.run.record, b.run.record
    origins = (one.resolved_from, other.resolved_from)
    answers = (one.evaluation.get(a.kind, {}), other.evaluation.get(b.kind, {}))
    return [
        trees.part("config", one.config, other.config, origins),
        trees.part("data", _data(one), _data(other)),
        trees.part("environment", _environment(one), _environment(other)),
        trees.part("training", _training(one), _training(other)),
        trees.part("answers", *answers),
    ]


def _data(record: Record) -> dict[str, Any]:
    return {_IDENTITY_OF_DATA: record.identity.get(_IDENTITY_OF_DATA)} | record.data


def _environment(record: Record) -> dict[str, Any]:
    made = {k: v for k, v in record.provenance.items() if k not in _NOT_COMPARED}
    return made | {k: v for k, v in record.identity.items() if k != _IDENTITY_OF_DATA}


def _training(record: Record) -> dict[str, Any]:
    error = record.error or {}
    ended = {"status": record.status, "error": error.get("message"), "objective": record.objective}
    adapter = {key: value for key, value in record.adapter.items() if key != "spectra"}
    return {"base": record.model, "adapter": adapter, "plan": record.plan} | ended
