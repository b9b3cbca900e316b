"""The report of a sweep -> its REPORT run in trackio, made from the same records as the tables."""

import sqlite3
from pathlib import Path

from experiments.errors import ExperimentError
from experiments.records import tracking
from experiments.records.tracking import Page
from experiments.reports import figures, page, sentences, tables
from experiments.reports.arms import Report


def send(folder: Path, report: Report) -> str | None:
    """Send the report of a sweep's folder to where its runs are shown.

    Returns:
        A sentence that says where it is, or why it is not there; None where the folder is no
        sweep's or its runs are not tracked.
    """
    place = tracking.place_of(folder) if (folder / "multirun.yaml").is_file() else None
    if place is None:
        return None
    name = folder.resolve().name
    try:
        tracking.send_report(place, name, contents(report))
    except (ExperimentError, OSError, sqlite3.Error) as error:
        # The records are safe: a dashboard that cannot be written must not fail a sweep.
        return f"the report could not be sent to the dashboard ({error})"
    return f"`python -m experiments dashboard {name}` shows it as '{tracking.report_name(name)}'"


def contents(report: Report) -> Page:
    """Return what a REPORT run shows of a report."""
    drawn = dict(figures.draw(report))
    grids = [grid for grid in tables.grids(report) if grid.rows]
    names = ["table", *(f"table_{n}" for n in range(2, len(grids) + 1))]
    notes = "\n".join(f"- {note}" for note in sentences.write(report))
    return Page(
        html=page.page(report, drawn),
        text=f"# {report.title}\n\n{notes}\n",
        tables={name: (g.header, g.rows) for name, g in zip(names, grids, strict=False)},
        images={Path(name).stem: png for name, png in drawn.items() if name.endswith(".png")},
    )
