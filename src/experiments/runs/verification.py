"""A row of a report in, one of its runs made again, and whether its scores come out as they were.

On the same machine with the same code they should be identical. Elsewhere, kernels and threads
add up floats in another order, and answers that hang by a hair turn. What counts as the same is
the noise floor: what another seed would change in the row, or what cannot be told from nothing
over the same test rows.
"""

import dataclasses
import json
import math
import statistics as spread
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments import config, reports
from experiments.config import RunConfig
from experiments.errors import ConfigError, RecordError, did_you_mean
from experiments.records import Record, archive, provenance
from experiments.reports import arms
from experiments.reports.arms import Row
from experiments.reports.explain import outcome, showing
from experiments.reports.explain.outcome import Score
from experiments.reports.scores import Kind, Run
from experiments.reports.sentences import counted
from experiments.reports.tables import cell_text

FOLDER = Path("outputs/verify")
_SHORTEST_ID = 6  # characters of a run's id that name it, as in its short name

Verdict = Literal["identical", "within the noise floor", "outside the noise floor"]
VERDICTS: tuple[Verdict, ...] = (
    "identical",
    "within the noise floor",
    "outside the noise floor",
)


@dataclass(frozen=True)
class Check:
    """One score of the run and of its repetition."""

    kind: Kind
    score: Score
    floor: float | None
    """What two runs of the row with different seeds may differ by; None with one seed."""

    @property
    def verdict(self) -> Verdict:
        """Whether the repetition's score is that of the record."""
        if self.score.same:
            return "identical"
        difference = self.score.difference
        if self.floor is not None and abs(difference.estimate) <= self.floor:
            return "within the noise floor"
        low, high = difference.low, difference.high
        if low is not None and high is not None and low <= 0 <= high:
            return "within the noise floor"
        return "outside the noise floor"


@dataclass(frozen=True)
class Verified:
    """A run, its repetition, and what came of comparing them."""

    run: Record
    again: Record
    checks: list[Check]
    changed: list[str]
    """Of what decides a run's numbers beside its config, the names of what differs."""

    @property
    def outside(self) -> list[Check]:
        """The scores that did not come out again."""
        return [check for check in self.checks if check.verdict == "outside the noise floor"]


def verify(path: Path, row: str, out: Path = FOLDER) -> Verified:
    """Make one run of a row again and compare its scores with the record's.

    Args:
        path: the folder of a report, a sweep or a run.
        row: the row's name as in the table, for its run with the lowest seed, or a run's id.
        out: where the run is made again; one that was interrupted there goes on.

    Raises:
        ConfigError: there is no such row, or the config of the record is no longer legal.
        RecordError: there is no record.
        ExperimentError: what a run may raise.
    """
    from experiments import runs

    found, record = choose(path, row)
    run = _again(record)
    job = runs.Job(out / record.run_id, find_siblings=True, overrides=tuple(record.overrides))
    made = runs.run_one(run, job).record
    return compare(found, record, made)


def choose(path: Path, row: str) -> tuple[Row, Record]:
    """Return a row of a report with the run that stands for it.

    Raises:
        ConfigError: there is no such row.
        RecordError: there is no record.
    """
    found = archive.read_all(path)
    if not found:
        raise RecordError(
            f"{path} holds no record that can be read: name the folder of a report, for example "
            "outputs/reports/NAME."
        )
    built = arms.build(found, [])
    rows = [one for one in built.rows if one.kind == "tuned"]
    for one in rows:
        ordered = sorted((run for run in one.runs if run.finished), key=lambda run: run.seed)
        for run in ordered:
            named = len(row) >= _SHORTEST_ID and run.record.run_id.startswith(row)
            if named or one.label == row:
                return one, run.record
    for run in built.runs:  # of a tuned sweep: at another rate than its arm's best one
        if len(row) >= _SHORTEST_ID and run.finished and run.record.run_id.startswith(row):
            return Row(built.arm_of(run), [run], "tuned", {}), run.record
    known = did_you_mean(row, [one.label for one in rows] or ["(no finished run)"])
    raise ConfigError(f"--verify '{row}': {path} has no such row and no such run; {known}.")


def compare(row: Row, run: Record, again: Record) -> Verified:
    """Return how the scores of a repetition compare with those of the record."""
    one, other = Run(run), Run(again)
    checks = []
    kinds: tuple[Kind, ...] = ("base", "tuned")
    for kind in kinds:
        if run.scores.get(kind) and again.scores.get(kind):
            for score in outcome.scores(one, other, (kind, kind)):
                values = [each.score("tuned", score.key) for each in row.runs]
                floor = noise_floor([v for v in values if v is not None])
                checks.append(Check(kind, score, floor if kind == "tuned" else None))
    return Verified(run, again, checks, provenance.differences(run.identity, again.identity))


def noise_floor(values: Sequence[float]) -> float | None:
    """Return what two runs that differ in the seed alone differ by at most, in 95 % of cases.

    The difference of two draws from one normal distribution has twice its variance, which is
    estimated from n seeds: t(n-1) · s · sqrt(2) (Student 1908). A repetition has the same seed, so
    it should stay far below.

    >>> round(noise_floor([0.70, 0.72, 0.74]), 3)
    0.122

    Args:
        values: shape (n,), one score a seed; fewer than two, or one that is not finite, give None.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1)) * spread.stdev(values) * math.sqrt(2)


def _again(record: Record) -> RunConfig:
    """Return the run of a record, to be made anew and shown nowhere."""
    from omegaconf import OmegaConf

    run = config.load(OmegaConf.create(json.loads(json.dumps(record.config))))
    tracker = dataclasses.replace(run.tracker, kind="none")
    return dataclasses.replace(run, rerun=True, tracker=tracker)


def show(found: Verified) -> None:
    """Print how the scores compare, in a table and in sentences.

    Raises:
        RecordError: there is nothing to compare, or a score did not come out again.
    """
    from rich.console import Console

    if not found.checks:
        raise RecordError(
            f"run {found.run.run_id} and its repetition in {found.again.folder} share no score."
        )
    to = Console(width=reports.line_width(), highlight=False, markup=False, emoji=False)
    lines = [_line(check) for check in found.checks if check.verdict != "identical"]
    if lines:
        header = [
            "model",
            "score",
            "record",
            "again",
            "difference",
            "noise floor",
            "verdict",
            "rows",
        ]
        to.print(showing.table(header, lines))
    for sentence in sentences(found):
        to.print(sentence)
    if found.outside:
        names = ", ".join(check.score.key for check in found.outside)
        raise RecordError(
            f"{len(found.outside)} of {len(found.checks)} scores did not come out again ({names}): "
            f"`python -m experiments explain {found.run.path} {found.again.folder}` says what else "
            "differs."
        )


def _line(check: Check) -> list[str]:
    score = check.score
    return [
        *(check.kind, score.key, f"{score.a:.4g}", f"{score.b:.4g}"),
        cell_text(score.difference, "+"),
        "-" if check.floor is None else f"{check.floor:.4g}",
        check.verdict,
        str(score.difference.n or "-"),
    ]


def sentences(found: Verified) -> Iterator[str]:
    """Yield what the comparison says."""
    if found.changed:
        yield f"Since the record, {', '.join(found.changed)} changed."
    counts = Counter(check.verdict for check in found.checks)
    parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    yield f"{counted(len(found.checks), 'score')}: {', '.join(parts)}."
    if counts["identical"] < len(found.checks):
        yield (
            "The noise floor is what another seed would change in the row (95 %); within it is "
            "also a difference over the same test rows whose 95 % interval holds 0."
        )
