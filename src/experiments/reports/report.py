"""Build tables and figures from run records; the same records always give the same bytes.

Tables are a function of the records on disk, and no code reads a table back. Only finished runs
are averaged. The others are counted and their errors listed; one broken record does not hide the
rest. `summarise` returns the text printed after a run or a sweep. `write` creates the committed
folder: README.md with its figures, and `runs/` with the records, from which the folder can be
regenerated; beside them runs.csv, table.csv, table.tex and, if asked for, report.html.

Runs that share everything but the seed form an arm. Intervals come from `statistics`: over seeds
if an arm has several, over test rows if it has one. Every table states which.

Modules in the order of use: `scores` (one record), `arm_report` (all records), `tables`,
`sentences` (below the tables), `figures`, and `report_folder` (the committed folder). In addition,
`page` writes the report as one HTML file, `dashboard_page` sends it to trackio, and `items`
compares two runs item by item.
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from experiments import records
from experiments.errors import RecordError
from experiments.records import Record, archive
from experiments.reports import (
    arm_report,
    base_models,
    comparison_rule,
    dashboard_page,
    drawing,
    figures,
    latex,
    page,
    report_folder,
    sentences,
    tables,
)
from experiments.reports.arm_report import Report
from experiments.reports.scores import COLUMNS, Kind, Run

LOG_WIDTH = 140  # characters per line if the output is not a terminal


def summarise(path: Path, not_begun: Sequence[Record] = ()) -> str:
    """Return the tables of a run, sweep or report folder as plain text.

    Args:
        path: the folder.
        not_begun: runs that belong to it and have no record yet.

    Raises:
        RecordError: there is no record, or none is readable.
    """
    report = _build(path, not_begun)
    width = line_width()
    parts = [tables.aligned(grid, width) for grid in tables.grids(report)]
    for caption, grid in base_models.sections(report):
        parts += [textwrap.fill(caption, width), tables.aligned(grid, width)]
    notes = [textwrap.fill(n, width, subsequent_indent="  ") for n in sentences.write(report)]
    return "\n\n".join([*parts, "\n".join(notes)]) + "\n"


def line_width() -> int:
    """Return the width of the terminal in characters, or `LOG_WIDTH` if there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else LOG_WIDTH


def write(
    path: Path, out: Path, not_begun: Sequence[Record] = (), *, html: bool = False
) -> list[Path]:
    """Write the report of a folder into `out` and return the files written.

    A report folder may be its own source; its records then stay as they are.

    Args:
        path: the folder.
        out: the report's folder.
        not_begun: runs that belong to it and have no record yet.
        html: also write `report.html`; one that is already there is written again.

    Raises:
        RecordError: there is no record or none is readable, `out` has records of other runs that
            are not committed to git, or a file cannot be written.
    """
    report = _build(path, not_begun)
    content = dict(report_folder.record_files(report))
    if report.tuning is not None:
        content |= comparison_rule.files(comparison_rule.read(path))
    own = {name for name, _ in report_folder.named(report)}
    report_folder.refuse_records_of_other_reports(out, own)
    strangers = set(archive.record_files(out)) - own
    content["runs.csv"] = report_folder.runs_csv(report).encode()
    content["table.csv"] = report_folder.table_csv(report).encode()
    drawn = {name: drawing.svg(figure) for name, figure in figures.draw(report)}
    content |= {f"figures/{name}.svg": svg for name, svg in drawn.items()}
    content["table.tex"] = latex.table_tex(report).encode()
    if html or (out / "report.html").exists():
        content["report.html"] = page.page(report, drawn).encode()
    content["README.md"] = report_folder.readme(report, list(drawn)).encode()
    if strangers:  # removed first: an interrupted write then leaves no mixture and can be redone
        archive.remove_other_form(out, strangers, set(content))
    if not report.unreadable:
        (out / report_folder.NOT_COUNTED).unlink(missing_ok=True)
    if comparison_rule.FILE_NAME not in content:
        (out / comparison_rule.FILE_NAME).unlink(missing_ok=True)
    kept = path.resolve() == out.resolve()
    written = [name for name in content if not (kept and name.startswith(f"{archive.FOLDER}/"))]
    for name in written:
        records.write_atomically(out / name, content[name], advice="choose another --out")
    for name in figures.NAMES:  # figures of an earlier state of the runs, or in a former format
        for file in (f"figures/{name}.png", f"figures/{name}.svg"):
            if file not in content:
                (out / file).unlink(missing_ok=True)
    archive.remove_other_form(out, own, set(content))
    return [out / name for name in written]


def send(folder: Path) -> str | None:
    """Send the report of a sweep's folder to the dashboard; see `dashboard_page.send`."""
    return dashboard_page.send(folder, _build(folder, ()))


def model_card(record: Record) -> str:
    """Return the README.md of a run's adapter: hub header, training setup, and scores.

    Local paths are left out: the header names the base model only if it is from the hub.
    """
    run, made = Run(record), record.provenance
    hub_id = (record.config.get("model") or {}).get("hub_id")
    header = ["library_name: peft", *([f"base_model: {hub_id}"] if hub_id else [])]
    names = [key for key in COLUMNS if run.score("tuned", key) is not None]
    kinds: tuple[Kind, ...] = ("base", "tuned")
    lines = [
        [tables.heading(key), *(tables.cell_text(run.over_items(kind, key)) for kind in kinds)]
        for key in names
    ]
    bits = record.hardware.get("quantization")
    tree = " (dirty tree)" if made.get("git_dirty") else ""
    parts = [
        "\n".join(["---", *header, "---"]),
        f"# {arm_report.title([run])}",
        tables.markdown(tables.Grid(["score", *kinds], lines)),
        f"One seed ({run.seed}); the record has the number of test rows behind each score.",
        *([f"Trained on the base in {bits} (4 bits)."] if bits else []),
        f"Code: commit {made.get('git_commit') or 'unknown'}{tree}.",
    ]
    return "\n\n".join(parts) + "\n"


def _build(path: Path, not_begun: Sequence[Record]) -> Report:
    found, broken = archive.read_all(path), archive.unreadable(path)
    if not found and broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise RecordError(f"{path} has no readable record: {broken[0]}{more}")
    if not found:
        raise RecordError(
            f"{path} has no record: name the folder of a run, of a sweep or of a report, "
            "for example outputs/reports/NAME."
        )
    there = {record.run_id for record in found}
    found += [record for record in not_begun if record.run_id not in there]
    return arm_report.build(
        found, [*report_folder.not_counted(path), *broken], comparison_rule.read(path)
    )
