"""A job of a sweep: its config and checked run; run it here or pack it for another process."""

import copy
import io
import os
import pickle
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.config import RunConfig, choices
from experiments.errors import RecordError, TrainingError
from experiments.runtime import budget, placement
from experiments.sweeps import checked_run, snapshot

# What pickle, cloudpickle and loky say of a job whose modules or classes have moved.
_UNREADABLE = ("No module named 'experiments", "Can't get attribute", "failed to un-serialize")


@dataclass(frozen=True)
class Program:
    """The parts that all jobs of a sweep share."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    """The sweep's config, from which each job's config is composed."""

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(str(self.config.hydra.sweep.dir))


@dataclass(frozen=True)
class SweepJob:
    """A job that is ready to run."""

    number: int
    overrides: tuple[str, ...]
    run_id: str = ""
    arm: str = ""
    """The config without its seed, as JSON: jobs that differ only in the seed share it."""
    config: DictConfig = field(default_factory=OmegaConf.create)
    """The composed config, with its `hydra` node."""
    run: RunConfig | None = None
    """The checked run; None for the jobs of a sweeper that is not ours, which checks none."""

    @property
    def label(self) -> str:
        """The overrides as text, for messages."""
        return " ".join(map(choices.unquoted, self.overrides))


def compose(
    program: Program, job_overrides: Sequence[Sequence[str]], numbers: Sequence[int]
) -> list[SweepJob]:
    """Return the jobs of a sweeper that is not ours, with their configs.

    The configs are those of the sweep's snapshot, or else composed now: all before the first job
    runs, so that editing files later has no effect.

    Raises:
        RecordError: the sweep's folder cannot be written.
    """
    loader = program.context.config_loader
    jobs = []
    for number, overrides in zip(numbers, job_overrides, strict=True):
        config = snapshot.read(program.folder, overrides)
        if config is None:
            config = loader.load_sweep_config(program.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        jobs.append(SweepJob(number, tuple(overrides), config=config))
    return jobs


def begin(program: Program) -> None:
    """Prepare this process and the sweep's folder for its jobs.

    Raises:
        RecordError: the sweep's folder cannot be written.
    """
    setup_globals()
    configure_log(program.config.hydra.hydra_logging, program.config.hydra.verbose)
    _make_folder(program.folder)


def run_here(program: Program, job: SweepJob) -> JobReturn:
    """Run a job in this process; errors are returned in its result."""
    try:
        with checked_run.passed_to_job(job.run):
            return run_job(
                hydra_context=program.context,
                task_function=program.task,
                config=job.config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
    except OSError as error:  # Hydra catches no errors while it writes the job's config
        reason = error.strerror or str(error)
        return failed(
            job,
            RecordError(
                f"{error.filename or program.folder} could not be written ({reason}): make room or "
                "choose another folder with hydra.sweep.dir=DIR, then rerun the same command."
            ),
        )
    finally:
        configure_log(program.config.hydra.hydra_logging, program.config.hydra.verbose)


def value_of(result: JobReturn) -> Any:
    """Return a job's value or error; Hydra's own property prints and raises an error."""
    return result._return_value


def failed(job: SweepJob, error: Exception) -> JobReturn:
    """Return a failed result with the error, for a job that returned none."""
    result = JobReturn()
    result.overrides = list(job.overrides)
    result.cfg = copy.deepcopy(job.config)
    with open_dict(result.cfg):
        result.cfg.pop("hydra", None)
    result.status = JobStatus.FAILED
    result.return_value = error
    return result


def died(job: SweepJob, reason: str) -> JobReturn:
    """Return the result of a job whose process died before the job ended, or could not read it."""
    name = f"job {job.number} ({job.label})"
    if any(marker in reason for marker in _UNREADABLE):
        return failed(
            job,
            RecordError(
                f"{name} was packed by another version of the code, which this one cannot read: it "
                f"{reason}; rerun the same command, which does not repeat finished runs."
            ),
        )
    return failed(
        job,
        TrainingError(
            f"the process of {name} {reason} before it ended: rerun the same command to resume it "
            "from its last checkpoint."
        ),
    )


@dataclass(frozen=True)
class PackedJob:
    """A picklable job with everything that another process needs to run it.

    Its config and run are those that the sweep has checked; the other process neither composes nor
    checks them again.
    """

    program: Program
    job: SweepJob
    threads: int | None
    """Number of compute threads; None = the process's default."""
    singletons: Any
    arguments: tuple[str, ...]
    directory: str
    ends_at: float | None
    """The sweep's deadline, in seconds since the epoch; None without one."""

    def __call__(self) -> JobReturn:
        """Run the job; its lines on stdout start with its number, as jobs share a terminal."""
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
        with redirect_stdout(Labelled(sys.stdout, f"[{self.job.number}] ")) as labelled_stdout:
            result = run_here(self.program, self.job)
            labelled_stdout.write("" if labelled_stdout.line_complete else "\n")
        return _portable(self.job, result)


def pack(program: Program, job: SweepJob, threads: int | None) -> PackedJob:
    """Pack a job for another process."""
    process_state = Singleton.get_state(), tuple(sys.argv), str(Path.cwd())
    return PackedJob(program, job, threads, *process_state, ends_at=budget.ends_at())


class Labelled(io.TextIOBase):
    """A text stream that prefixes each line with a label and writes complete lines only."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._rest = ""

    @property
    def line_complete(self) -> bool:
        """Whether the last line is complete."""
        return not self._rest

    def write(self, text: str) -> int:
        """Write all complete lines, and buffer the rest until its line is complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._label}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)


def _portable(job: SweepJob, result: JobReturn) -> JobReturn:
    """Replace a job's return value or error by an error message if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(value_of(result)))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, ImportError) as error:
        value = value_of(result)
        message = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else str(error)
        return failed(job, TrainingError(f"job {job.number} ({job.label}): {message}"))
    return result


def _code_changed(job: SweepJob, changed: Sequence[str]) -> RecordError:
    return RecordError(
        f"job {job.number} ({job.label}) was not started: {', '.join(changed)} changed since the "
        "sweep began; rerun the same command to run the rest with the code as it is now."
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"the sweep's folder {folder} cannot be written ({error.strerror}): choose another "
            "with hydra.sweep.dir=DIR."
        ) from error
