"""From one runtime to the next: runs out to the hub, and in from a folder or the hub.

A runtime that ends takes its disk with it. What was uploaded, or lies on a mounted drive, is
copied back whole before anything begins, and then everything goes on as if it had been here.

`layout` (which file stands where in a repository), `hub` (the repository), `pushing` (out),
`taking` (in), `verb` (the command line's own).
"""

from experiments.records.hub.hub import check, refuse_other_run
from experiments.records.hub.pushing import push, push_checkpoint, push_finished, push_interrupted
from experiments.records.hub.taking import take_run, take_sweep

__all__ = [
    "check",
    "push",
    "push_checkpoint",
    "push_finished",
    "push_interrupted",
    "refuse_other_run",
    "take_run",
    "take_sweep",
]
