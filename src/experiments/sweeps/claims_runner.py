"""Plan, list and run the sweeps and measurements that claims need, one after another.

Each sweep runs in a separate process, with the command that a user would type. Finished runs are
never repeated, so rerunning the same command resumes an interrupted sweep.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import reports
from experiments.analysis.claims.claim import Claim
from experiments.config import folders
from experiments.errors import ExperimentError, RecordError
from experiments.records import Record, archive, provenance
from experiments.reports import tables
from experiments.runtime import placement
from experiments.sweeps import plan as sweep_plan
from experiments.sweeps import status
from experiments.sweeps.kind import SweepKind

_MEASURED = Path("reports") / "measured"
_INTERRUPTED = (130, 143)  # exit codes of a process that was ended by SIGINT or SIGTERM


@dataclass(frozen=True)
class ClaimStep:
    """One sweep, or one measurement, that some claims need."""

    name: str
    """Name of the sweep's file, or of the measurement."""
    claims: tuple[str, ...]
    """Numbers of the claims that need it."""
    arguments: tuple[str, ...]
    """The command's arguments, without the interpreter."""
    folder: Path | None = None
    """The sweep's folder; None for a measurement."""
    arms: int = 0
    """Number of arms of a tuned sweep; 0 for a grid or a search."""
    runs: int = 0
    """Number of runs of the sweep; for a tuned sweep, those expected."""
    most: int = 0
    """Number of runs that the sweep has at most."""
    done: int = 0
    seconds: float | None = None
    """Duration of a run according to records, or of the measurement; None if unknown."""

    @property
    def remaining(self) -> int:
        """Number of runs still to do; for a tuned sweep, those expected."""
        return max(0, self.runs - self.done)


def plan(
    claims: Sequence[Claim], outputs: Path, workers: int | None, overrides: Sequence[str] = ()
) -> list[ClaimStep]:
    """Return the sweeps, then the measurements, that the claims need, each once.

    Args:
        claims: the claims to evaluate.
        outputs: the folder that contains the sweeps.
        workers: number of processes per sweep; None = the launcher's default.
        overrides: overrides for every sweep.

    Raises:
        ConfigError: a sweep's file is missing or cannot be composed.
    """
    tested = [claim for claim in claims if claim.not_tested is None]
    sweeps = dict.fromkeys(claim.sweep for claim in tested if claim.sweep)
    steps = [
        _sweep(name, _numbers(tested, "sweep", name), outputs, workers, overrides)
        for name in sweeps
        if name
    ]
    measurements = dict.fromkeys(str(m) for c in tested if (m := c.measured))
    for name in measurements:
        if not _is_measured(outputs / _MEASURED / f"{name}.json"):
            arguments = ["-m", "experiments.calibration.numerical_checks", name]
            if outputs != Path("outputs"):
                arguments += ["--out", str(outputs / _MEASURED)]
            seconds = _measurement(outputs / _MEASURED / f"{name}.json").get("seconds")
            numbers = _numbers(tested, "measured", name)
            steps.append(ClaimStep(name, numbers, tuple(arguments), seconds=seconds))
    return steps


def _numbers(claims: Sequence[Claim], key: str, name: str) -> tuple[str, ...]:
    return tuple(claim.number for claim in claims if getattr(claim, key, None) == name)


def _sweep(
    name: str,
    numbers: tuple[str, ...],
    outputs: Path,
    workers: int | None,
    overrides: Sequence[str],
) -> ClaimStep:
    folder = outputs / name
    arguments = ["-m", "experiments", "train", "-m", f"sweeps={name}", *overrides]
    if outputs != Path("outputs"):
        arguments.append(f"hydra.sweep.dir={folder}")
    if workers != 1:
        arguments.append("hydra/launcher=joblib")
        arguments += [f"hydra.launcher.n_jobs={workers}"] if workers else []
    from experiments.sweeps.hydra import dry_run

    size = dry_run.count([f"sweeps={name}", *overrides], folders.conf())
    planned = sweep_plan.read(folder) if folder.is_dir() else None
    records = archive.read_all(folder) if folder.is_dir() else []
    return ClaimStep(
        name,
        numbers,
        tuple(arguments),
        folder,
        size.parts if size.kind is SweepKind.tuned else 0,
        max(size.runs, planned.total if planned else 0),
        max(size.most_runs, planned.total if planned else 0),
        status.read(folder).settled if records else 0,
        _seconds(records) or _seconds(archive.read_all(outputs / "reports" / name)),
    )


def _seconds(records: Sequence[Record]) -> float | None:
    times = [r.timing.get("total_seconds") for r in records if r.status == "finished"]
    seconds = [time for time in times if time is not None]
    return sum(seconds) / len(seconds) if seconds else None


def _is_measured(file: Path) -> bool:
    """Return whether a complete measurement exists that was run at the current commit."""
    measurement = _measurement(file)
    current = provenance.of_run("cpu")
    return (
        bool(measurement.get("git_commit")) and measurement["git_commit"] == current["git_commit"]
    )


def _measurement(file: Path) -> dict[str, Any]:
    """Return a measurement's provenance; empty if the file is missing or incomplete."""
    try:
        tree: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree.get("provenance") or {}


def text(steps: Sequence[ClaimStep], workers: int | None, width: int) -> str:
    """Return the table of the steps, with an estimate of the time they take."""
    processes = workers or placement.cores()
    header = ["sweep", "claims", "arms", "runs", "done", "seconds a run", "minutes left"]
    lines = [_line(step, processes) for step in steps]
    estimates = [hours for step in steps if (hours := _hours(step, processes)) is not None]
    unestimated = [step.name for step in steps if _hours(step, processes) is None]
    remaining = sum(step.remaining for step in steps)
    summary = f"{remaining} runs to do in {processes} processes: about {sum(estimates):.1f} hours"
    summary += (
        f", without {', '.join(unestimated)}, of which no run has finished." if unestimated else "."
    )
    if any(step.arms for step in steps):
        summary += (
            " Tuned arms are counted with the runs expected, and beside it with the most: an arm "
            "has more while its best learning rate is at an edge or not settled."
        )
    grid = tables.aligned(tables.Grid(header, lines), width)
    return f"{grid}\n\n{textwrap.fill(summary, width, subsequent_indent='  ')}\n"


def _line(step: ClaimStep, processes: int) -> list[str]:
    hours = _hours(step, processes)
    minutes = "?" if hours is None else f"{60 * hours:.0f}"
    claims = " ".join(step.claims)
    if step.folder is None:
        return [f"measurement {step.name}", claims, "-", "-", "-", "-", minutes]
    seconds = "?" if step.seconds is None else f"{step.seconds:.1f}"
    runs = f"{step.runs} to {step.most}" if step.arms else str(step.runs)
    return [step.name, claims, str(step.arms or "-"), runs, str(step.done), seconds, minutes]


def _hours(step: ClaimStep, processes: int) -> float | None:
    if step.folder is None:
        return None if step.seconds is None else step.seconds / 3600  # runs in one process
    if not step.remaining:
        return 0.0
    return None if step.seconds is None else step.remaining * step.seconds / processes / 3600


def run(steps: Sequence[ClaimStep], outputs: Path, resume_command: str) -> list[str]:
    """Run each step and write each sweep's report.

    Args:
        steps: the steps that `plan` returns.
        outputs: the folder that contains the sweeps.
        resume_command: the command that resumes after an interruption.

    Returns:
        One sentence per problem.

    Raises:
        KeyboardInterrupt: the user stopped it; the running step has ended and written its records.
    """
    problems: list[str] = []
    for number, step in enumerate(steps, 1):
        print(f"\n[{number} of {len(steps)}] {step.name}: {_command_text(step)}", flush=True)
        code = _run_child([sys.executable, *step.arguments])
        if code in _INTERRUPTED or code < 0:
            print(f"stopped at {step.name} ({number} of {len(steps)}); to resume: {resume_command}")
            raise KeyboardInterrupt
        if code:
            problems.append(
                f"{step.name} ended with exit code {code}: rerun the same command to resume it"
            )
        problems += _report(step, outputs)
    return problems


def _command_text(step: ClaimStep) -> str:
    return shlex.join(["python", *step.arguments])


def _run_child(command: Sequence[str]) -> int:
    """Run a command to its end and return its exit code.

    The child gets a new process session, so that it receives Ctrl-C only once, forwarded by this
    process, which then waits until the child has written its records. The child reacts to SIGINT
    even if this process was started with SIGINT ignored, as shells do for background jobs. Each
    process uses one thread by default: two were slower with these small models.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with _sigterm_as_interrupt():
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # SIG_IGN is inherited
        child = subprocess.Popen(command, env=environment, start_new_session=True)
        signal.signal(signal.SIGINT, previous)
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)


class _sigterm_as_interrupt:
    """Context manager that converts SIGTERM to KeyboardInterrupt while a child runs."""

    def __enter__(self) -> None:
        self._previous_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._previous_handler)


def _report(step: ClaimStep, outputs: Path) -> Iterator[str]:
    """Write the report of a sweep, and yield a sentence if that fails; the runs are unaffected."""
    if step.folder is None or not step.folder.is_dir():
        return
    try:
        out = outputs / "reports" / step.name
        files = reports.write(step.folder, out, sweep_plan.not_begun(step.folder))
        print(f"wrote {len(files)} files to {out}")
    except ExperimentError as error:
        yield str(error).rstrip(".")


def refuse(problems: Sequence[str]) -> None:
    """Raise one error that lists all problems, if there are any.

    Raises:
        RecordError: there is at least one problem.
    """
    if problems:
        raise RecordError("\n  ".join([f"{len(problems)} of the steps failed:", *problems]))
