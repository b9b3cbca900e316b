"""Write the sentences below a report's tables: what intervals cover and what is missing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from experiments import records
from experiments.analysis import arms
from experiments.analysis.claims import limits
from experiments.records import Record
from experiments.reports import answering, variance_shares
from experiments.reports.arm_report import ArmRow, Report
from experiments.reports.scores import COLUMNS, Run, dump
from experiments.reports.tables import is_flat, main_scores
from experiments.reports.tuned import TunedSweep

_IDENTITY = {
    "code_sha256": (),  # in records from before the code hash was split into parts
    "training_code": (),
    "evaluation_code": (),
    "scoring_code": ("eval.metrics",),
    "libraries": (),
    "device_class": (),
    "precision": ("trainer.precision",),
    "attention": ("trainer.attention",),
    "base_sha256": ("model",),
    "adapter_sha256": ("model",),
    "data_fingerprint": ("model", "data"),
}
_RESUME = "rerun the same command to resume"


def write(report: Report) -> Iterator[str]:
    """Yield the sentences: captions, warnings, counts, failures, and records not counted."""
    if report.single is not None:
        yield _single_caption(report.rows)
    elif report.rows:
        yield from _sweep_captions(report)
    yield from answering.write([run.record for run in report.runs if run.finished])
    yield from _warnings(report.runs)
    tried = [run for run in report.runs if report.tuning and arms.diverged(run.record)]
    if report.single is None:
        statuses = [run.record.status for run in report.runs if run not in tried]
        yield _footer([*statuses, *("diverged" for _ in tried)])
    yield from _unfinished(report)
    for run in report.runs:
        if run.record.status in ("failed", "oom") and run not in tried:
            yield f"Failed: {_failure(run.record)}"
    if report.left_out:
        yield (
            f"{counted(len(report.left_out), 'other record')} of the same runs left out: "
            "only the newest finished record of a run counts."
        )
    for sentence in report.unreadable:
        yield f"Not counted: {sentence}"


def _footer(statuses: Sequence[str]) -> str:
    every = (*records.STATUSES, records.NOT_BEGUN, "diverged")
    order = sorted(every, key=lambda status: status != "finished")
    return ", ".join(f"{statuses.count(s)} {s}" for s in order if s in statuses) + "."


def _unfinished(report: Report) -> Iterator[str]:
    """Yield a sentence for each arm with unfinished runs: which seeds remain and their progress."""
    if report.tuning is not None:  # a sentence per learning rate would be too many
        waiting = [run for runs in report.unfinished.values() for run in runs if _waits(run.record)]
        for label, count in Counter(map(report.arm_of, waiting)).items():
            yield f"Unfinished: {label}: {counted(count, 'run')}; {_RESUME}."
        return
    for key, runs in report.unfinished.items():
        said = [f"seed {run.seed} {_how_far(run.record)}" for run in runs if _waits(run.record)]
        if said:
            yield f"Unfinished: {report.arms[key]}: {', '.join(said)}; {_RESUME}."


def _waits(record: Record) -> bool:
    """Return whether a run is idle, according to its record."""
    return record.status != "running"


def _how_far(record: Record) -> str:
    """Describe the progress of a run.

    >>> _how_far(Record("a", "interrupted", error={"step": 12}, plan={"steps": 30}))
    'interrupted at step 12 of 30'
    """
    step = (record.error or {}).get("step")
    return record.status + (f" at step {step} of {record.plan['steps']}" if step else "")


def _single_caption(rows: Sequence[ArmRow]) -> str:
    if not main_scores(rows):
        return "The record has none of the main scores."
    cells = [row.scores[key] for row in rows for key in main_scores(rows) if key in row.scores]
    shown = [cell.n for cell in cells if cell.low is not None]
    if not shown:
        return "No intervals: the scores per test row (items.jsonl.gz) are missing."
    n = f"{min(shown)} to {max(shown)}" if min(shown) < max(shown) else str(max(shown))
    return (
        f"95 % intervals over {n} test rows (Wilson for proportions, Student t otherwise; "
        "differences paired by row), one seed: they do not include variation between seeds."
    )


def _sweep_captions(report: Report) -> Iterator[str]:
    tuned = [row for row in report.rows if row.kind == "tuned" and row.runs]
    if any(len(row.runs) > 1 for row in tuned):
        yield "Means over seeds, with 95 % Student t intervals over seeds."
    alone = [row.label for row in tuned if len(row.runs) == 1]
    if alone:
        who = "every arm" if len(alone) == len(tuned) else _listed(alone)
        yield (
            f"Only one seed: {who}; the 95 % interval is then over test rows and does not include "
            "variation between seeds."
        )
    shown = [row.scores.get(key) for row in tuned for key in main_scores(tuned)]
    shown += [row.difference for row in tuned]
    if any(interval and interval.over == "seeds" and is_flat(interval) for interval in shown):
        yield (
            "No interval is shown if all seeds gave the same number, which can happen by chance "
            "with few test rows; such a difference counts as not separable."
        )
    if any(row.kind == "base" for row in report.rows):
        yield "The untuned base has no seed: its 95 % interval is over test rows."
    if report.tuning is not None:
        yield from _tuned(report.tuning)
        yield from variance_shares.write(report)
        return
    if len(tuned) > 1 and report.headline:
        yield (
            f"Difference: {COLUMNS[report.headline]} minus that of {tuned[0].label}, paired by "
            "seed, with a 95 % Student t interval; not separable: the interval contains 0. "
            "Comparisons are not corrected for the number of arms."
        )
        yield from variance_shares.write(report)
    yield from _apart(tuned)
    yield from _unequal(tuned)


def _apart(tuned: Sequence[ArmRow]) -> Iterator[str]:
    """Yield which arms have no difference and cannot be ranked because of how they were scored."""
    reasons: dict[str, list[str]] = {}
    for row in tuned:
        if row.apart is not None:
            reasons.setdefault(row.apart.text, []).append(row.label)
    for reason, labels in reasons.items():
        yield f"No difference from {tuned[0].label} is shown for {_listed(labels)}: {reason}."


def _tuned(tuning: TunedSweep) -> Iterator[str]:
    """Yield what the columns of a tuned sweep mean, and the notes of `analysis.arms`."""
    yield (
        "Each arm is shown at the learning rate (LR) with the lowest mean validation loss over its "
        "seeds; the optimum is the minimum of a parabola fitted to nearby learning rates, with a "
        "95 % jackknife interval over seeds."
    )
    runs = [run.record for one in tuning.arms for run in one.runs.values()]
    yield f"Scope: {limits.scope(runs)}."
    for label, rates in tuning.diverged().items():
        listed = ", ".join(f"{rate:.3g}" for rate in rates)
        yield f"{label}: training diverged at learning rate {listed} (counted as tried)."
    yield from tuning.notes


def _unequal(tuned: Sequence[ArmRow]) -> Iterator[str]:
    if len({tuple(row.seeds) for row in tuned}) > 1:
        own = "; ".join(f"{row.label} has {', '.join(map(str, row.seeds))}" for row in tuned)
        yield f"Unequal seeds: {own}. Differences use the seeds that both arms have."


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    finished = [run.record for run in runs if run.finished]
    found = [name for name, apart in _IDENTITY.items() if _differs(finished, name, apart)]
    if found:
        yield (
            f"Warning: the runs differ in {', '.join(found)}, which may explain differences "
            "between them."
        )
    dirty = sum(bool(record.provenance.get("git_dirty")) for record in finished)
    if dirty:
        yield f"Warning: {dirty} of {counted(len(finished), 'run')} used uncommitted code."


def _differs(finished: Iterable[Record], name: str, apart: tuple[str, ...]) -> bool:
    groups: dict[str, set[str]] = {}
    for record in finished:
        drawn = arms.draw(record) if name == "data_fingerprint" else None
        key = dump([drawn, *(_lookup(record.config, path) for path in apart)])
        groups.setdefault(key, set()).add(dump(record.identity.get(name)))
    return any(len(values) > 1 for values in groups.values())


def _lookup(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = (tree or {}).get(part)
    return tree


def _failure(record: Record) -> str:
    error = record.error or {}
    message = " ".join(str(error.get("message", "no message")).split())
    what = " ".join(record.overrides) or record.run_id
    job = "" if record.job is None else f"job {record.job}, "
    return f"{job}{what}: {error.get('type', 'error')}: {message}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(2, "run")
    '2 runs'
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
