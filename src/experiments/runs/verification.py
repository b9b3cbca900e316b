"""Repeat one run of a report's row and check that its scores are reproduced.

On the same hardware with the same code they should be identical. Elsewhere, kernels and threads
sum floats in another order, which can change answers where two tokens are almost equally likely.
A score counts as reproduced if it is equal up to fp32 rounding, if its difference is within seed
noise (what another seed would change in the row), or if the difference over the same test rows is
not significant.
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
from experiments.reports import arm_report
from experiments.reports.arm_report import ArmRow
from experiments.reports.explain import outcome, showing
from experiments.reports.explain.outcome import Score
from experiments.reports.scores import Kind, Run
from experiments.reports.sentences import counted
from experiments.reports.tables import cell_text

FOLDER = Path("outputs/verify")
_MIN_ID_LENGTH = 6  # fewest characters of a run id that identify it, as in its short name

# Batches of another shape change the mean fp32 log-probability by up to 4e-6 of its value.
_ROUNDING_RELATIVE = 1e-5
_ROUNDING_ABSOLUTE = 1e-6

Verdict = Literal["identical", "equal up to rounding", "within noise", "not reproduced"]
VERDICTS: tuple[Verdict, ...] = (
    "identical",
    "equal up to rounding",
    "within noise",
    "not reproduced",
)


@dataclass(frozen=True)
class Check:
    """One score, compared between the run and its repetition."""

    kind: Kind
    score: Score
    seed_noise: float | None
    """Largest difference expected between two seeds of the row; None with one seed."""

    @property
    def verdict(self) -> Verdict:
        """Whether the repetition reproduces the record's score."""
        if self.score.same:
            return "identical"
        tolerances = {"rel_tol": _ROUNDING_RELATIVE, "abs_tol": _ROUNDING_ABSOLUTE}
        if math.isclose(self.score.a, self.score.b, **tolerances):
            return "equal up to rounding"
        difference = self.score.difference
        if self.seed_noise is not None and abs(difference.estimate) <= self.seed_noise:
            return "within noise"
        low, high = difference.low, difference.high
        if low is not None and high is not None and low <= 0 <= high:
            return "within noise"
        return "not reproduced"


@dataclass(frozen=True)
class Verified:
    """A run, its repetition, and the comparison of their scores."""

    run: Record
    repetition: Record
    checks: list[Check]
    changed: list[str]
    """Names of the parts of the identity (code, data, libraries, ...) that differ."""

    @property
    def not_reproduced(self) -> list[Check]:
        """The scores that were not reproduced."""
        return [check for check in self.checks if check.verdict == "not reproduced"]


def verify(path: Path, row: str, out: Path = FOLDER) -> Verified:
    """Repeat one run of a row and compare its scores with those of the record.

    Args:
        path: the folder of a report, a sweep or a run.
        row: the row's name as in the table, for its run with the lowest seed, or a run's id.
        out: folder for the repetition; an interrupted repetition in it is resumed.

    Raises:
        ConfigError: there is no such row, or the record's config is no longer valid.
        RecordError: there is no record.
        ExperimentError: any error that a run can raise.
    """
    from experiments import runs

    arm_row, record = choose(path, row)
    run = _rerun_config(record)
    job = runs.Job(out / record.run_id, find_siblings=True, overrides=tuple(record.overrides))
    repetition = runs.run_one(run, job).record
    return compare(arm_row, record, repetition)


def choose(path: Path, row: str) -> tuple[ArmRow, Record]:
    """Return a row of a report and the run that represents it.

    Raises:
        ConfigError: there is no such row.
        RecordError: there is no record.
    """
    records = archive.read_all(path)
    if not records:
        raise RecordError(
            f"{path} holds no record that can be read: name the folder of a report, for example "
            "outputs/reports/NAME."
        )
    report = arm_report.build(records, [])
    rows = [arm_row for arm_row in report.rows if arm_row.kind == "tuned"]
    for arm_row in rows:
        finished_runs = sorted(
            (run for run in arm_row.runs if run.finished), key=lambda run: run.seed
        )
        for run in finished_runs:
            matches_id = len(row) >= _MIN_ID_LENGTH and run.record.run_id.startswith(row)
            if matches_id or arm_row.label == row:
                return arm_row, run.record
    for run in report.runs:  # in a tuned sweep, runs at other learning rates than the arm's best
        if len(row) >= _MIN_ID_LENGTH and run.finished and run.record.run_id.startswith(row):
            return ArmRow(report.arm_of(run), [run], "tuned", {}), run.record
    suggestion = did_you_mean(row, [arm_row.label for arm_row in rows] or ["(no finished run)"])
    raise ConfigError(f"--verify '{row}': {path} has no such row and no such run; {suggestion}.")


def compare(row: ArmRow, run: Record, repetition: Record) -> Verified:
    """Compare the scores of a repetition with those of the record."""
    original, repeated = Run(run), Run(repetition)
    checks = []
    kinds: tuple[Kind, ...] = ("base", "tuned")
    for kind in kinds:
        if run.scores.get(kind) and repetition.scores.get(kind):
            for score in outcome.scores(original, repeated, (kind, kind)):
                values = [arm_run.score("tuned", score.key) for arm_run in row.runs]
                noise = seed_noise([v for v in values if v is not None])
                checks.append(Check(kind, score, noise if kind == "tuned" else None))
    return Verified(
        run, repetition, checks, provenance.differences(run.identity, repetition.identity)
    )


def seed_noise(values: Sequence[float]) -> float | None:
    """Return the largest difference expected between two seeds, in 95 % of cases.

    The difference of two draws from one normal distribution has twice its variance, which is
    estimated from n seeds: t(n-1) · s · sqrt(2) (Student 1908). A repetition uses the same seed, so
    its difference should be far smaller.

    >>> round(seed_noise([0.70, 0.72, 0.74]), 3)
    0.122

    Args:
        values: one score per seed, shape (n,).

    Returns:
        The noise, or None with fewer than two values or a value that is not finite.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1)) * spread.stdev(values) * math.sqrt(2)


def _rerun_config(record: Record) -> RunConfig:
    """Return the config of a record's run, set to run again without a tracker."""
    from omegaconf import OmegaConf

    run = config.load(OmegaConf.create(json.loads(json.dumps(record.config))))
    tracker = dataclasses.replace(run.tracker, kind="none")
    return dataclasses.replace(run, rerun=True, tracker=tracker)


def show(verified: Verified) -> None:
    """Print the comparison of the scores as a table and as sentences.

    Raises:
        RecordError: there is nothing to compare, or a score was not reproduced.
    """
    from rich.console import Console

    if not verified.checks:
        raise RecordError(
            f"run {verified.run.run_id} and its repetition in {verified.repetition.folder} share "
            "no score."
        )
    console = Console(width=reports.line_width(), highlight=False, markup=False, emoji=False)
    lines = [_line(check) for check in verified.checks if check.verdict != "identical"]
    if lines:
        header = [
            "model",
            "score",
            "record",
            "again",
            "difference",
            "seed noise",
            "verdict",
            "rows",
        ]
        console.print(showing.table(header, lines))
    for sentence in sentences(verified):
        console.print(sentence)
    if verified.not_reproduced:
        names = ", ".join(check.score.key for check in verified.not_reproduced)
        raise RecordError(
            f"{len(verified.not_reproduced)} of {len(verified.checks)} scores were not reproduced "
            f"({names}): `python -m experiments explain {verified.run.path} "
            f"{verified.repetition.folder}` says what else differs."
        )


def _line(check: Check) -> list[str]:
    score = check.score
    return [
        *(check.kind, score.key, f"{score.a:.4g}", f"{score.b:.4g}"),
        cell_text(score.difference, "+"),
        "-" if check.seed_noise is None else f"{check.seed_noise:.4g}",
        check.verdict,
        str(score.difference.n or "-"),
    ]


def sentences(verified: Verified) -> Iterator[str]:
    """Yield sentences that summarise the comparison."""
    if verified.changed:
        yield f"Since the record, {', '.join(verified.changed)} changed."
    counts = Counter(check.verdict for check in verified.checks)
    parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    yield f"{counted(len(verified.checks), 'score')}: {', '.join(parts)}."
    if counts["identical"] < len(verified.checks):
        yield (
            f"Equal up to rounding: they differ by at most {_ROUNDING_RELATIVE:g} of the value. "
            "Within noise: by at most the seed noise (what another seed would change in the row, "
            "95 %), or the 95 % interval of the difference over the same test rows contains 0."
        )
