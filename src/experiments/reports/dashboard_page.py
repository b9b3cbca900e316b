"""Send a sweep's report to trackio as its REPORT run, built from the same records as the tables."""

import sqlite3
from pathlib import Path

from experiments.errors import ExperimentError
from experiments.records import tracking
from experiments.records.tracking import Page
from experiments.reports import drawing, figures, page, sentences, tables
from experiments.reports.arm_report import Report


def send(folder: Path, report: Report) -> str | None:
    """Send the report of a sweep's folder to the project that tracks its runs.

    Returns:
        A sentence on where the report is shown, or why it is not. None if the folder is not that
        of a sweep, or its runs are not tracked.
    """
    place = tracking.place_of(folder) if (folder / "multirun.yaml").is_file() else None
    if place is None:
        return None
    name = folder.resolve().name
    try:
        tracking.send_report(place, name, contents(report))
    except (ExperimentError, OSError, sqlite3.Error) as error:
        # The records are safe, so a dashboard that cannot be written must not make the sweep fail.
        return f"the report could not be sent to the dashboard ({error})"
    return f"`python -m experiments dashboard {name}` shows it as '{tracking.report_name(name)}'"


def contents(report: Report) -> Page:
    """Return the contents of a report's REPORT run."""
    drawn = dict(figures.draw(report))
    grids = [grid for grid in tables.grids(report) if grid.rows]
    names = ["table", *(f"table_{n}" for n in range(2, len(grids) + 1))]
    notes = "\n".join(f"- {note}" for note in sentences.write(report))
    return Page(
        html=page.page(report, {name: drawing.svg(figure) for name, figure in drawn.items()}),
        text=f"# {report.title}\n\n{notes}\n",
        tables={name: (g.header, g.rows) for name, g in zip(names, grids, strict=False)},
        images={name: drawing.png(figure) for name, figure in drawn.items()},
    )
