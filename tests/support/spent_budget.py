"""A train.py whose time budget is over once a file exists, however fast the machine is."""

from pathlib import Path

from conftest import ROOT

_PROGRAM = """
import glob, os, runpy, sys, threading, time

def watch():
    while not glob.glob({pattern!r}):
        time.sleep(0.01)
    from experiments.runtime import budget
    budget.spend()

if __name__ == "__main__":
    if os.environ.get("RANK", "0") == "0":
        threading.Thread(target=watch, daemon=True).start()
    sys.argv[0] = {program!r}
    runpy.run_path({program!r}, run_name="__main__")
"""


def write(folder: Path, pattern: str) -> Path:
    """Write the program; give it a `budget.hours` that is long enough.

    Args:
        folder: where the program is written.
        pattern: of the files of which one has to exist, relative to where the program is started.
    """
    program = folder / "train.py"
    program.write_text(_PROGRAM.format(pattern=pattern, program=str(ROOT / "train.py")))
    return program
