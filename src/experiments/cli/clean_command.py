"""`clean`: list, and with `--yes` remove, the files that finished runs no longer need."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("sweep", type=Path, nargs="?", help="default: every folder of outputs/")
    parser.add_argument("--yes", action="store_true", help="remove the listed files")
    parser.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> None:
    from experiments.sweeps import cleaning

    folders = [given.sweep] if given.sweep else cleaning.sweep_folders(Path("outputs"))
    total, may_go = 0, []
    for folder in folders:
        found, stays = cleaning.leftovers(folder)
        print(*stays, sep="\n", end="\n" if stays else "")
        for leftover in found:
            total += leftover.size_bytes
            print(f"{leftover.size_bytes / 1e6:9.1f} MB  {leftover.path}  ({leftover.reason})")
        may_go += found
    if not may_go:
        print("nothing to remove")
        return
    gone = list(cleaning.remove(may_go)) if given.yes else []
    what = f"{len(gone)} removed" if given.yes else f"{len(may_go)} listed; --yes removes them"
    print(f"{total / 1e6:9.1f} MB  {what}; adapters and records are kept")
