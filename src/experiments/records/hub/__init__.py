"""Move runs between runtimes: upload them to the hub, and copy them from a folder or the hub.

When a cloud runtime ends, its disk is lost. Files that were uploaded, or are on a mounted drive,
are copied and checked before anything starts, and runs then resume as if the files had always been
local.

Modules: `layout` (paths of files in a repository), `repository` (access to it), `pushing`
(upload), `taking` (copy from a source).
"""

from experiments.records.hub.pushing import push, push_checkpoint, push_finished, push_interrupted
from experiments.records.hub.repository import check, refuse_other_run
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
