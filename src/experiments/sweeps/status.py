"""Compute a sweep's progress from its records: runs per status, hours left, best run so far."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from experiments import records
from experiments.analysis import arms
from experiments.errors import RecordError
from experiments.evaluation import metrics
from experiments.records import Record
from experiments.sweeps import plan

# A record further than this ahead of the local clock was written by a host with a wrong clock.
_SKEW = timedelta(seconds=30)
_DIVERGED = "diverged"
_SETTLED = (*records.SETTLED, _DIVERGED)
_ORDER = ("finished", *records.STATUSES, _DIVERGED, records.NOT_BEGUN)


@dataclass(frozen=True)
class Status:
    """The progress of a sweep."""

    counts: dict[str, int]
    """Number of runs by status; the sum is the size of the sweep. `not begun` runs have no record.
    A `running` run whose process has ended counts as interrupted. A run of a tuned sweep that
    failed because its loss was not finite counts as diverged: its learning rate has been tried."""
    to_do: int
    """Number of runs that are neither settled nor running."""
    hours_left: float | None
    """Estimate from the mean time of the finished runs; None if none is finished."""
    best: Record | None
    best_description: str = ""
    """The best run's objective, its folder, and the overrides that distinguish it."""
    notes: tuple[str, ...] = ()

    @property
    def settled(self) -> int:
        """Number of runs that a rerun of the same command does not repeat."""
        return sum(self.counts.get(name, 0) for name in _SETTLED)

    def __str__(self) -> str:
        """Return the progress as one line."""
        parts = [f"{n} {name}" for name, n in self.counts.items()]
        # Interrupted, failed and not begun runs are all to do, so "to do" is given in parentheses.
        total = sum(self.counts.values())
        if self.to_do:
            parts[-1] += f" ({self.to_do} of {total} to do)"
        else:
            parts.append("0 to do")
        if self.hours_left:
            parts.append(f"about {_duration(self.hours_left)} left")
        if self.best is not None:
            parts.append(f"best so far {self.best_description}")
        return ", ".join(parts)


def read(sweep_dir: Path) -> Status:
    """Return the progress of a sweep.

    Raises:
        RecordError: the folder contains no sweep.
    """
    planned, all_runs = plan.read(sweep_dir), records.read_all(sweep_dir)
    if planned is None and not all_runs:
        raise RecordError(
            f"{sweep_dir} contains no sweep: name the folder of one, for example outputs/NAME."
        )
    runs = plan.newest(all_runs)
    if planned is not None and planned.run_ids:  # ignore runs from before an edit of the sweep
        runs = [record for record in runs if record.run_id in set(planned.run_ids)]
    is_tuned = planned is not None and planned.kind == "tuned"
    counts = Counter(_DIVERGED if is_tuned and arms.diverged(r) else _state(r) for r in runs)
    total = planned.total if planned is not None else len(runs)
    counts[records.NOT_BEGUN] = max(0, total - len(runs))
    settled = sum(counts[name] for name in _SETTLED)
    to_do = counts.total() - settled - counts["running"]
    seconds = [r.timing["total_seconds"] for r in runs if _has_duration(r)]
    hours_left, best_run = None, best(runs)
    if seconds and to_do + counts["running"]:
        hours_per_run = sum(seconds) / len(seconds) / max(1, counts["running"])
        hours_left = (to_do + counts["running"] / 2) * hours_per_run / 3600
    return Status(
        {name: counts[name] for name in _ORDER if counts[name]},
        to_do,
        hours_left,
        best_run,
        describe(best_run, runs) if best_run else "",
        (*_notes(sweep_dir, all_runs), *filter(None, [_reason_not_comparable(runs)])),
    )


def _has_duration(record: Record) -> bool:
    return record.status == "finished" and record.timing.get("total_seconds") is not None


def _state(record: Record) -> str:
    return record.status if record.status != "running" or is_locked(record) else "interrupted"


def is_locked(record: Record) -> bool:
    """Return whether a live process has locked the run's folder."""
    from filelock import FileLock, Timeout

    file = record.folder / ".lock"
    if not file.is_file():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def best(runs: Sequence[Record]) -> Record | None:
    """Return the finished run with the best objective.

    None if the runs have different objectives, test rows or thinking modes.
    """
    finished = _with_objective(runs)
    objectives = {(r.objective["name"], r.objective.get("direction")) for r in finished}
    if len(objectives) != 1 or _reason_not_comparable(runs) is not None:
        return None
    [(name, direction)] = objectives
    sign = 1 if (direction or metrics.direction(name)) == "minimize" else -1
    return min(finished, key=lambda r: sign * float(r.objective["value"]))


def _with_objective(runs: Sequence[Record]) -> list[Record]:
    return [r for r in runs if r.status == "finished" and r.objective.get("value") is not None]


def _reason_not_comparable(runs: Sequence[Record]) -> str | None:
    """Return why the finished runs' objectives are not comparable; None if they are."""
    finished = _with_objective(runs)
    reason = arms.apart(finished, str(finished[0].objective["name"])) if finished else None
    return None if reason is None else f"no run is the best one: {reason.text}."


def describe(record: Record, runs: Sequence[Record]) -> str:
    """Return a run's objective, folder, and the overrides that not all of the runs share."""
    shared = set.intersection(*(set(r.overrides) for r in runs))
    varied = " ".join(override for override in record.overrides if override not in shared)
    value = f"{record.objective['name']} {record.objective['value']:.4g}"
    return f"{value} in {record.folder.name}" + (f" ({varied})" if varied else "")


def _notes(sweep_dir: Path, all_runs: Sequence[Record]) -> Iterator[str]:
    for sentence in records.unreadable(sweep_dir):
        yield f"not counted: {sentence}"
    now = datetime.now(UTC)
    ahead = [r for r in all_runs if r.started_at and _parse_time(r.started_at) > now + _SKEW]
    if ahead:
        furthest = max(ahead, key=lambda r: r.started_at)
        minutes = (_parse_time(furthest.started_at) - now).total_seconds() / 60
        yield (
            f"the clock of the machine that wrote {furthest.folder.name} is {minutes:.0f} min "
            "ahead of this one: synchronise the clocks (NTP), because of two finished records of "
            "one run the later one counts."
        )


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
