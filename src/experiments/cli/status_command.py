"""`status`: print the progress of a sweep."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("sweep", type=Path, help="a sweep's folder: outputs/NAME")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.sweeps import status

    progress = status.read(arguments.sweep)
    print(f"{arguments.sweep}: {progress}", *progress.notes, sep="\n")
