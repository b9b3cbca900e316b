"""`report`: write a run's or a sweep's tables, compare two runs item by item, or repeat a row."""

import argparse
from pathlib import Path

from experiments.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument(
        "path", type=Path, nargs="?", help="a run folder, a sweep folder or a report folder"
    )
    parser.add_argument(
        "--items", nargs=2, type=Path, metavar=("A", "B"), help="compare two runs item by item"
    )
    parser.add_argument(
        "--verify",
        metavar="ROW",
        help="repeat one run of a table row (its label or a run id) and compare the scores",
    )
    parser.add_argument(
        "--html", action="store_true", help="also write report.html, the report as a single file"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="default: outputs/reports/<name of the folder>; with --items, a FILE.jsonl for the "
        "items that only one of the runs solves (default: none); with --verify, the folder of the "
        "repeated run (default: outputs/verify)",
    )
    parser.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> None:
    if (given.path is None) == (given.items is None):
        raise ConfigError(
            "report needs either --items A B or the folder of a run, a sweep or a report."
        )
    if given.html and (given.items or given.verify is not None):
        raise ConfigError("report --html writes a report's page: leave out --items and --verify.")
    if given.verify is not None:
        _verify(given)
        return
    from experiments import reports as report
    from experiments.sweeps import plan

    if given.items:
        joined = report.items.join(*given.items)
        print(report.items.describe(joined, report.line_width()))
        if given.out:
            print(f"wrote {report.items.write(joined, given.out):,} items to {given.out}")
        return
    path: Path = given.path
    out = given.out or report_folder(path)
    left = plan.not_begun(path)
    print(report.summarise(path, left))
    for file in report.write(path, out, left, html=given.html):
        print(f"wrote {file}")
    if sent := report.send(path):
        print(sent)


def report_folder(path: Path) -> Path:
    """Return the folder for a report; a nested sweep keeps its path relative to outputs/."""
    whole, outputs = path.resolve(), Path("outputs").resolve()
    if any(parent.name == "reports" for parent in whole.parents):
        return path
    name = whole.relative_to(outputs) if whole.is_relative_to(outputs) else Path(whole.name)
    return Path("outputs/reports") / (name if name.parts else whole.name)


def _verify(given: argparse.Namespace) -> None:
    if given.items:
        raise ConfigError("report --verify needs a report's folder, not --items A B.")
    from experiments.runs import verification

    verification.show(
        verification.verify(given.path, given.verify, given.out or verification.FOLDER)
    )
