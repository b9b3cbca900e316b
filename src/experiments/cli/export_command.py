"""`export`: write a run's answers to BFCL in BFCL's file layout."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.analysis import bfcl_scores

    print(*bfcl_scores.export_run(arguments.run, arguments.out), sep="\n")
