"""Run jobs one after another in this process, which loads libraries, base model and rows once."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.utils import JobReturn

from experiments.runtime import placement
from experiments.sweeps.launching.sweep_job import Program, SweepJob, run_here


@dataclass(frozen=True)
class _Done:
    value: JobReturn

    def result(self) -> JobReturn:
        return self.value


class OneProcessExecutor:
    """Executor of the `one_process` launcher: runs each job in the current process."""

    def __init__(self, program: Program) -> None:
        self._program = program
        placement.see_one_gpu()

    def free_slots(self) -> int:
        """Return 1, because a job has ended when `start` returns."""
        return 1

    def start(self, jobs: Sequence[SweepJob]) -> Sequence[_Done]:
        """Run the jobs and return their results."""
        return [_Done(run_here(self._program, job)) for job in jobs]

    def stop(self) -> None:
        """Do nothing, because the running job has already been interrupted."""
