"""`explain`: show the differences between two runs, read only from their records."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    for name in ("a", "b"):
        parser.add_argument(
            name,
            type=Path,
            metavar=name.upper(),
            help="a run's folder, or its record in a report (outputs/reports/NAME/runs/ID.json)",
        )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.reports.explain import run_comparison, showing

    showing.show(run_comparison.explain(arguments.a, arguments.b))
