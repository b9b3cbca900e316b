"""What is decided about a run before it is executed: its id, its folder and what it builds on."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments.config import RunConfig
from experiments.records import Record
from experiments.runs.model_and_rows import Loaded
from experiments.runs.run_folders import Job


@dataclass(frozen=True)
class Start:
    """A run that is about to be executed, as the main process decided."""

    run: RunConfig
    run_id: str
    job: Job
    folder: Path
    earlier: Record | None = None
    """The unfinished run in the folder, whose checkpoint is resumed."""
    trained: Record | None = None
    """A finished run with the same training, whose adapter is scored instead of training."""
    loaded: Loaded | None = None
    """Model and rows, if they had to be loaded to decide whether a finished run is reused."""
    began: float = field(default_factory=time.monotonic)
    """Start of this attempt, in seconds of the monotonic clock."""
    ends_at: float | None = None
    """The deadline, in seconds since the epoch; None without one."""

    def for_other_processes(self) -> "Start":
        """Return the same run without what only the main process does: tracking, hub, pruning."""
        run = dataclasses.replace(
            self.run,
            tracker=dataclasses.replace(self.run.tracker, kind="none"),
            hub=dataclasses.replace(self.run.hub, push=False, checkpoints=False),
        )
        job = dataclasses.replace(self.job, stop_rule=None)
        return dataclasses.replace(self, run=run, job=job, loaded=None)
