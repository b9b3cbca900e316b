"""One job of a sweep: composed once, run here or packed for another process."""

import copy
import io
import os
import pickle
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from experiments.errors import RecordError, TrainingError
from experiments.runtime import budget, placement
from experiments.sweeps import snapshot


@dataclass(frozen=True)
class Program:
    """What all jobs of a sweep share."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    """The sweep's own config, from which each job's is made."""

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(str(self.config.hydra.sweep.dir))


@dataclass(frozen=True)
class SweepJob:
    """A job whose config will not change any more."""

    number: int
    overrides: tuple[str, ...]
    config: DictConfig

    @property
    def label(self) -> str:
        """The overrides, for people."""
        return " ".join(self.overrides)


def compose(
    program: Program, job_overrides: Sequence[Sequence[str]], numbers: Sequence[int]
) -> list[SweepJob]:
    """Return the jobs with the configs frozen at the sweep's start, else composed now.

    All are made before the first one runs, so that files edited meanwhile change none of them.

    Raises:
        RecordError: the sweep's folder cannot be written.
    """
    setup_globals()
    configure_log(program.config.hydra.hydra_logging, program.config.hydra.verbose)
    _make_folder(program.folder)
    loader = program.context.config_loader
    jobs = []
    for number, overrides in zip(numbers, job_overrides, strict=True):
        config = snapshot.read(program.folder, overrides)
        if config is None:
            config = loader.load_sweep_config(program.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        jobs.append(SweepJob(number, tuple(overrides), config))
    return jobs


def run_here(program: Program, job: SweepJob) -> JobReturn:
    """Run a job in this process; what goes wrong with it stays in its result."""
    try:
        return run_job(
            hydra_context=program.context,
            task_function=program.task,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except OSError as error:  # Hydra writes the job's config before it catches anything
        reason = error.strerror or str(error)
        return failed(
            job,
            RecordError(
                f"{error.filename or program.folder} could not be written ({reason}): make room or "
                "choose another folder with hydra.sweep.dir=DIR, then start the same line again."
            ),
        )
    finally:
        configure_log(program.config.hydra.hydra_logging, program.config.hydra.verbose)


def failed(job: SweepJob, error: Exception) -> JobReturn:
    """Return the result of a job that came to no result of its own."""
    result = JobReturn()
    result.overrides = list(job.overrides)
    result.cfg = copy.deepcopy(job.config)
    with open_dict(result.cfg):
        del result.cfg["hydra"]
    result.status = JobStatus.FAILED
    result.return_value = error
    return result


def died(job: SweepJob, how: str) -> JobReturn:
    """Return the result of a job whose process ended before the job did."""
    return failed(
        job,
        TrainingError(
            f"the process of job {job.number} ({job.label}) {how} before it ended: start the same "
            "line again and it goes on from its last checkpoint."
        ),
    )


@dataclass(frozen=True)
class Parcel:
    """A job with all that another process needs to run it."""

    program: Program
    job: SweepJob
    threads: int | None
    """Threads to compute with; None = whatever the process has."""
    singletons: Any
    arguments: tuple[str, ...]
    directory: str
    ends_at: float | None
    """When the sweep's budget is spent, in seconds since the epoch."""

    def __call__(self) -> JobReturn:
        """Run the job; stdout is labelled with its number, as several jobs share a terminal."""
        with budget.ending(self.ends_at):
            return self._run()

    def _run(self) -> JobReturn:
        if self.threads is not None:
            placement.use_threads(self.threads)
        sys.argv = list(self.arguments)
        if os.path.isdir(self.directory):
            os.chdir(self.directory)
        Singleton.set_state(self.singletons)
        setup_globals()
        if changed := snapshot.changed_code(self.program.folder):
            return failed(self.job, _code_changed(self.job, changed))
        with redirect_stdout(Labelled(sys.stdout, f"[{self.job.number}] ")) as said:
            result = run_here(self.program, self.job)
            said.write("" if said.whole else "\n")
        return _portable(self.job, result)


def pack(program: Program, job: SweepJob, threads: int | None) -> Parcel:
    """Pack a job for another process."""
    surroundings = Singleton.get_state(), tuple(sys.argv), str(Path.cwd())
    return Parcel(program, job, threads, *surroundings, ends_at=budget.ends_at())


class Labelled(io.TextIOBase):
    """A text stream that begins each line with a label and writes whole lines only."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._rest = ""

    @property
    def whole(self) -> bool:
        """Whether the last line has ended."""
        return not self._rest

    def write(self, text: str) -> int:
        """Keep the text until its line is whole."""
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._label}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)


def _portable(job: SweepJob, result: JobReturn) -> JobReturn:
    """Replace what a job returned or raised by a sentence if it cannot travel."""
    try:
        pickle.loads(pickle.dumps(result._return_value))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, ImportError) as error:
        value = result._return_value
        what = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else str(error)
        return failed(job, TrainingError(f"job {job.number} ({job.label}): {what}"))
    return result


def _code_changed(job: SweepJob, changed: Sequence[str]) -> RecordError:
    return RecordError(
        f"job {job.number} ({job.label}) was not started: {', '.join(changed)} changed since the "
        "sweep began; start the same line again to run the rest with the code as it is now."
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"the sweep's folder {folder} cannot be written ({error.strerror}): choose another "
            "with hydra.sweep.dir=DIR."
        ) from error
