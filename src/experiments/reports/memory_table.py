"""Tabulate predicted and measured training memory for the runs that recorded both."""

from experiments.reports.arm_report import Report
from experiments.reports.tables import Grid

_GB = 10**9


def grids(report: Report) -> list[Grid]:
    """Return a row per arm with its largest prediction error; no table if no run has both."""
    lines = []
    for row in report.rows:
        known = [
            (run.record.memory["train_predicted_bytes"], run.record.memory["train_peak_bytes"])
            for run in row.runs
            if {"train_predicted_bytes", "train_peak_bytes"} <= set(run.record.memory)
        ]
        if row.kind != "tuned" or not known:
            continue
        predicted, measured = max(known, key=lambda both: abs(both[0] / both[1] - 1))
        cells = (f"{predicted / _GB:.2f}", f"{measured / _GB:.2f}")
        lines.append([row.label, str(len(known)), *cells, f"{predicted / measured - 1:+.0%}"])
    header = ["arm", "runs", "predicted GB", "measured GB", "largest error"]
    return [Grid(header, lines)] if lines else []
