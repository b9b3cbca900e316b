"""`clean`: list, and with `--yes` remove, the files that finished runs no longer need."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("sweep", type=Path, nargs="?", help="default: every folder of outputs/")
    parser.add_argument("--yes", action="store_true", help="remove the listed files")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.sweeps import cleaning

    folders = [arguments.sweep] if arguments.sweep else cleaning.sweep_folders(Path("outputs"))
    total, removable = 0, []
    for folder in folders:
        leftovers, notes = cleaning.leftovers(folder)
        print(*notes, sep="\n", end="\n" if notes else "")
        for leftover in leftovers:
            total += leftover.size_bytes
            print(f"{leftover.size_bytes / 1e6:9.1f} MB  {leftover.path}  ({leftover.reason})")
        removable += leftovers
    if not removable:
        print("nothing to remove")
        return
    removed = list(cleaning.remove(removable)) if arguments.yes else []
    outcome = (
        f"{len(removed)} removed"
        if arguments.yes
        else f"{len(removable)} listed; --yes removes them"
    )
    print(f"{total / 1e6:9.1f} MB  {outcome}; adapters and records are kept")
