"""This process: one job after the other; imports, base and rows are paid for once."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.utils import JobReturn

from experiments.runtime import placement
from experiments.sweeps.launching.jobs import Program, SweepJob, run_here


@dataclass(frozen=True)
class _Done:
    value: JobReturn

    def result(self) -> JobReturn:
        return self.value


class Here:
    """The place of the `one_process` launcher."""

    def __init__(self, program: Program) -> None:
        self._program = program
        placement.see_one_gpu()

    def room(self) -> int:
        """Return 1: a job is over when `start` returns."""
        return 1

    def start(self, jobs: Sequence[SweepJob]) -> Sequence[_Done]:
        """Run the job."""
        return [_Done(run_here(self._program, job)) for job in jobs]

    def stop(self) -> None:
        """Do nothing: the job that ran is where the interrupt came from."""
