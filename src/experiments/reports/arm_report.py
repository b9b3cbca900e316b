"""Group the runs of a folder into arms, which share everything but the seed, for a report."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments import config, records
from experiments.analysis import arms, statistics
from experiments.analysis.arms import Contrast, Tuned
from experiments.analysis.arms.reasons import Reason
from experiments.analysis.statistics import Interval
from experiments.records import Record
from experiments.reports import trained_shares, tuned
from experiments.reports.comparison_rule import ComparisonRule
from experiments.reports.scores import Kind, Run, bounds, dump, mean
from experiments.reports.trained_shares import TrainedShares

HEADLINES = ("calls/exact", "loss/nll", "validation/loss/nll")


@dataclass
class ArmRow:
    """A row of the table: an arm, or the base model."""

    label: str
    runs: list[Run]
    kind: Kind
    scores: dict[str, Interval]
    difference: Interval | None = None
    left: int = 0
    """Number of runs of the arm that have not started or not ended."""
    tuned: Tuned | None = None
    """In a tuned sweep: the arm with its learning rates; `runs` are those at the best one."""
    contrast: Contrast | None = None
    """In a tuned sweep: the comparison with the reference; None for the reference itself."""
    apart: Reason | None = None
    """Why there is no difference: this arm and the first one were scored on different rows, or in
    different modes of `eval.thinking`."""

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs in the row, sorted."""
        return sorted(run.seed for run in self.runs)

    def seconds(self) -> float | None:
        """Return the mean training time of a run."""
        times = [run.record.timing.get("train_seconds") for run in self.runs]
        known = [time for time in times if time is not None]
        return mean(known) if known and self.kind == "tuned" else None

    def parameters(self) -> int | None:
        """Return the number of trained parameters."""
        if not self.runs or self.kind != "tuned":
            return None
        return self.runs[0].record.adapter.get("trainable_parameters")

    def trained(self) -> TrainedShares:
        """Return the trained parameters and their shares; all None for the base."""
        if not self.runs or self.kind != "tuned":
            return TrainedShares(None, None, None)
        return trained_shares.of(self.runs[0].record)


@dataclass
class Report:
    """The contents of a report on a folder of records, before formatting."""

    title: str
    runs: list[Run]
    left_out: list[Record]
    arms: dict[str, str]
    """Labels by arm key, in order of first appearance."""
    rows: list[ArmRow]
    headline: str | None
    """The score that arms are compared by."""
    unfinished: dict[str, list[Run]]
    """Runs by arm key that have not started or not ended; the same command resumes them."""
    unreadable: list[str]
    """A sentence for each record that is broken."""
    tuning: tuned.TunedSweep | None = None
    """The results of a tuned sweep, whose rows are arms at their own best learning rates."""

    @property
    def single(self) -> Run | None:
        """The run, if there is only one and it is finished."""
        return self.runs[0] if len(self.runs) == 1 and self.runs[0].finished else None

    def arm_of(self, run: Run) -> str:
        """Return the label of a run's arm."""
        if self.tuning is None:
            return self.arms[run.arm_key]
        return self.tuning.labels.get(arms.arm_key(run.record.config), self.arms[run.arm_key])


def build(
    found: Iterable[Record], unreadable: list[str], comparison: ComparisonRule | None = None
) -> Report:
    """Return the report of some records.

    Args:
        found: the records.
        unreadable: a sentence for each record that is broken.
        comparison: how the arms of a tuned sweep are compared; None = the defaults.
    """
    every = list(found)
    runs, left_out = _select(every)
    labels, left = _arm_labels(runs), _unfinished(runs)
    report = Report(title(runs), runs, left_out, labels, [], _headline(runs), left, unreadable)
    if (tuning := tuned.read(every, comparison or ComparisonRule())) is not None:
        return _tuned_report(report, tuning)
    if (single := report.single) is not None:
        report.rows = _single_rows(single)
    else:
        report.rows = [*_base_rows(runs), *_arm_rows(runs, labels, report.headline)]
        _mark_unfinished(report)
    return report


def _tuned_report(report: Report, tuning: tuned.TunedSweep) -> Report:
    """Turn the rows of a report into the arms of a tuned sweep, each at its best learning rate."""
    rows = {one.arm.key: _tuned_row(one, tuning) for one in tuning.arms}
    count = f"{len(rows)} arms" if len(rows) > 1 else "One arm"
    report.title = f"{count} at {'their' if len(rows) > 1 else 'its'} best learning rate: " + (
        report.title
    )
    report.rows = [*_base_rows(report.runs), *rows.values()]
    report.headline, report.tuning = tuning.score, tuning
    return report


def _tuned_row(one: Tuned, tuning: tuned.TunedSweep) -> ArmRow:
    runs = [Run(made.record) for made in one.runs.values() if made.record.status == "finished"]
    row = _row(one.arm.label, runs, "tuned")
    contrast = tuning.contrasts.get(one.arm.key)
    if contrast is not None:
        row.contrast, row.difference = contrast, contrast.difference
    row.tuned = one
    return row


def _unfinished(runs: Sequence[Run]) -> dict[str, list[Run]]:
    left: dict[str, list[Run]] = {}
    for run in runs:
        if run.record.status in records.UNFINISHED:
            left.setdefault(run.arm_key, []).append(run)
    return left


def _mark_unfinished(report: Report) -> None:
    """Mark the arms with unfinished runs, and add a row for those without any finished run."""
    rows = {row.runs[0].arm_key: row for row in report.rows if row.kind == "tuned"}
    if not rows:
        return  # without a score there is no table; sentences list the unfinished runs instead
    for key in report.arms:
        if key in report.unfinished:
            if key not in rows:
                rows[key] = ArmRow(report.arms[key], [], "tuned", {})
                report.rows.append(rows[key])
            rows[key].left = len(report.unfinished[key])


def _select(found: Iterable[Record]) -> tuple[list[Run], list[Record]]:
    """Return one run per run_id, the newest finished one if any, and the remaining records."""
    newest_last = sorted(found, key=lambda r: (r.status == "finished", _time(r)))
    chosen = {record.run_id: record for record in newest_last}
    left_out = [r for r in newest_last if chosen[r.run_id] is not r]
    order = sorted(
        chosen.values(), key=lambda r: (r.job is None, r.job or 0, r.started_at, r.run_id)
    )
    return [Run(record) for record in order], left_out


def _time(record: Record) -> str:
    return record.finished_at or record.started_at


def _arm_labels(runs: Sequence[Run]) -> dict[str, str]:
    """Label each arm by the overrides that differ between arms."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.arm_key, run)
    varying = _varying([run.overrides for run in first.values()])
    labels = {}
    for key, run in first.items():
        own = [f"{name}={run.overrides[name]}" for name in varying if name in run.overrides]
        labels[key] = " ".join(own) or ("defaults" if varying else _labels(run))
    return _told_apart(labels, first)


def _told_apart(labels: dict[str, str], first: dict[str, Run]) -> dict[str, str]:
    """Add config values to labels shared by two arms: equal overrides, different config files."""
    shared = [key for key, label in labels.items() if list(labels.values()).count(label) > 1]
    flat = {key: dict(config.leaves(first[key].record.config)) for key in shared}
    varying = [name for name in _varying(list(flat.values())) if name != "seed"][:3]
    for key in shared:
        own = " ".join(f"{name}={flat[key].get(name)}" for name in varying)
        labels[key] = f"{labels[key]} ({own})"
    return labels


def _varying(tables: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for table in tables for name in table)
    return [n for n in names if any(t.get(n, ...) != tables[0].get(n, ...) for t in tables)]


def _labels(run: Run) -> str:
    groups = ((name, run.record.config.get(name) or {}) for name in ("model", "data", "lora"))
    return " ".join(f"{name}={group['label']}" for name, group in groups if group.get("label"))


def title(runs: Sequence[Run]) -> str:
    """Return a title with the run's labels, or with the keys that a sweep varied."""
    if len(runs) == 1:
        labels = _labels(runs[0])
        return f"Run {runs[0].record.run_id}" + (f": {labels}" if labels else "")
    varied = [f"`{name}`" for name in _varying([run.overrides for run in runs])]
    seeds = ["`seed`"] if len({run.seed for run in runs}) > 1 else []
    return f"{len(runs)} runs" + (f" over {', '.join(varied + seeds)}" if varied + seeds else "")


def _headline(runs: Sequence[Run]) -> str | None:
    """Return the score that arms are compared by: the first of HEADLINES that any run has."""
    there = {key for run in runs if run.finished for key in run.record.scores.get("tuned", {})}
    return next((key for key in HEADLINES if key in there), None)


def _base_rows(runs: Sequence[Run]) -> list[ArmRow]:
    """Return a row per untuned model and data; it has no seed, so one run's scores are enough."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.finished and run.record.scores.get("base"):
            what = [run.record.config.get(key) for key in ("model", "data", "eval")]
            first.setdefault(dump(what), run)
    ways = {arms.thinking_mode(run.record, "base") for run in first.values()} - {None}
    rows = []
    for run in first.values():
        names = " ".join(_labels(run).split()[:2])
        label = "base (untuned)" + (f" {names}" if len(first) > 1 else "")
        if len(ways) > 1 and (way := arms.thinking_mode(run.record, "base")) is not None:
            label += f" thinking={way}"
        rows.append(_row(label, [run], "base"))
    return rows


def _arm_rows(runs: Sequence[Run], labels: dict[str, str], headline: str | None) -> list[ArmRow]:
    rows = []
    for key, label in labels.items():
        own = [run for run in runs if run.finished and run.arm_key == key]
        if own:
            rows.append(_row(label, own, "tuned"))
    if headline is None:
        return rows
    for row in rows[1:]:
        both = [run.record for run in (*rows[0].runs, *row.runs)]
        if (reason := arms.apart(both, headline)) is not None:
            row.apart = reason
        else:
            row.difference = _difference(rows[0], row, headline)
    return rows


def _single_rows(run: Run) -> list[ArmRow]:
    kinds: tuple[Kind, ...] = ("base", "tuned")
    return [_row(kind, [run], kind) for kind in kinds if run.record.scores.get(kind)]


def _row(label: str, runs: list[Run], kind: Kind) -> ArmRow:
    keys = dict.fromkeys(key for run in runs for key in run.record.scores.get(kind, {}))
    intervals = {key: _interval(runs, kind, key) for key in keys}
    return ArmRow(label, runs, kind, {key: i for key, i in intervals.items() if i is not None})


def _interval(runs: Sequence[Run], kind: Kind, key: str) -> Interval | None:
    if len(runs) == 1:
        return runs[0].over_items(kind, key)
    values = [v for run in runs if (v := run.score(kind, key)) is not None]
    if not all(map(math.isfinite, values)):
        return Interval(math.nan, None, None, len(values), "seeds", "none")
    return statistics.mean_interval(values, bounds=bounds(key)) if values else None


def _difference(reference: ArmRow, row: ArmRow, key: str) -> Interval | None:
    """Return the difference row - reference in one score, paired by their common seeds."""
    a, b = ({run.seed: run.score("tuned", key) for run in r.runs} for r in (reference, row))
    pairs = [(x, y) for s in a if (x := a[s]) is not None and (y := b.get(s)) is not None]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if not pairs:
        return None
    return statistics.paired_difference([x for x, _ in pairs], [y for _, y in pairs])
