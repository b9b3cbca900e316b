"""Say how much of the variance of each difference comes from seeds and from test rows."""

import math
from collections.abc import Iterator, Sequence

from experiments.analysis import statistics
from experiments.analysis.statistics import MeanEstimate
from experiments.reports.arm_report import ArmRow, Report


def write(report: Report) -> Iterator[str]:
    """Yield a sentence with the shares of every arm whose scores by test row are recorded."""
    tuned = [row for row in report.rows if row.kind == "tuned" and row.runs]
    shares = []
    for row in tuned:
        estimate = _estimate(report, tuned[0], row)
        share = None if estimate is None else estimate.seed_share
        if share is not None:
            shares.append(f"{row.label} {100 * share:.0f} % / {100 - round(100 * share)} %")
    if shares:
        yield (
            f"Variance of the difference in {report.headline}, from seeds / from test rows: "
            f"{'; '.join(shares)}. More seeds reduce the first, more test rows the second. "
            f"{_what_seeds_vary(tuned)}"
        )


def _what_seeds_vary(rows: Sequence[ArmRow]) -> str:
    """Return a sentence on what differs between the runs of different seeds."""
    start = "the order of the rows and the start of the adapter"
    draws = [_hashes(row) for row in rows]
    if any(None in hashes for hashes in draws):
        return f"Seeds vary {start}."  # the records are from before the hash was kept
    if all(len(hashes) < len(row.seeds) for hashes, row in zip(draws, rows, strict=True)):
        return f"Seeds vary {start}; all of them train on the same rows."
    return f"Seeds vary the training rows, {start}."


def _hashes(row: ArmRow) -> set[str | None]:
    """Return the hashes of the training rows of an arm's runs; None for one that is not known."""
    drawn = [run.record.data.get("training_rows") or {} for run in row.runs]
    return {rows.get("sha256") for rows in drawn}


def _estimate(report: Report, reference: ArmRow, row: ArmRow) -> MeanEstimate | None:
    """Return the difference from the reference over seeds crossed with rows, if it is known."""
    if report.tuning is not None:
        return None if row.contrast is None else row.contrast.estimate
    if row is reference or row.apart is not None or report.headline is None:
        return None
    sides = [
        {run.seed: run.rows_of("tuned", report.headline) for run in side.runs}
        for side in (reference, row)
    ]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    tables = [side[seed] for seed in seeds for side in sides]
    if len(seeds) < 2 or any(one.keys() != tables[0].keys() for one in tables):
        return None
    ids = list(tables[0])
    differences = [[sides[1][s][id_] - sides[0][s][id_] for id_ in ids] for s in seeds]
    finite = all(math.isfinite(value) for by_row in differences for value in by_row)
    return statistics.crossed_estimate(differences) if ids and finite else None
