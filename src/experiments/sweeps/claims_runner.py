"""Claims in, the runs that they need made: planned, told, and started one sweep after the other.

Each sweep is a process of its own, by the line that a user would type. It knows which of its runs
are finished, so the same line goes on where it was stopped.
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

from experiments import config, reports
from experiments.analysis.arms import planning
from experiments.analysis.claims.claim import Claim
from experiments.errors import ConfigError, ExperimentError, RecordError
from experiments.records import Record, archive, provenance
from experiments.reports import tables
from experiments.sweeps import plan as sweep_plan
from experiments.sweeps import status

_MEASURED = Path("reports") / "measured"
_INTERRUPTED = (130, 143)  # exit codes of a process that Ctrl-C or a polite kill has ended
_TRIALS = 20  # of a search that names none


@dataclass(frozen=True)
class Step:
    """One sweep, or one measurement, that some claims need."""

    name: str
    """Of the sweep's file, or of the measurement."""
    claims: tuple[str, ...]
    """Their numbers."""
    words: tuple[str, ...]
    """The command, without the interpreter."""
    folder: Path | None = None
    """Of the sweep's runs; None for a measurement."""
    arms: int = 0
    """Arms of a tuned sweep; 0 for a grid, whose runs are all known."""
    runs: int = 0
    """Runs of the whole sweep; of a tuned one at least so many."""
    done: int = 0
    seconds: float | None = None
    """Of a run, as records say, or of the measurement; None where there is none."""

    @property
    def left(self) -> int:
        """Runs to be made, at least."""
        return max(0, self.runs - self.done)


def plan(claims: Sequence[Claim], outputs: Path, root: Path, workers: int | None) -> list[Step]:
    """Return what the claims need, each sweep and each measurement once, in their order.

    Args:
        claims: those to be decided.
        outputs: where sweeps are.
        root: the project's folder, with conf/ and train.py.
        workers: processes of a sweep; None = as many as the launcher thinks right.

    Raises:
        ConfigError: a sweep's file is not there or cannot be composed.
    """
    tested = [claim for claim in claims if claim.not_tested is None]
    sweeps = dict.fromkeys(claim.sweep for claim in tested if claim.sweep)
    steps = [
        _sweep(name, _numbers(tested, "sweep", name), outputs, root, workers)
        for name in sweeps
        if name
    ]
    measured = dict.fromkeys(str(m) for c in tested if (m := c.measured))
    for name in measured:
        if not _is_measured(outputs / _MEASURED / f"{name}.json"):
            words = ["-m", "experiments.calibration.numerical_checks", name]
            if outputs != Path("outputs"):
                words += ["--out", str(outputs / _MEASURED)]
            seconds = _measurement(outputs / _MEASURED / f"{name}.json").get("seconds")
            numbers = _numbers(tested, "measured", name)
            steps.append(Step(name, numbers, tuple(words), seconds=seconds))
    return steps


def _numbers(claims: Sequence[Claim], key: str, name: str) -> tuple[str, ...]:
    return tuple(claim.number for claim in claims if getattr(claim, key, None) == name)


def _sweep(
    name: str, numbers: tuple[str, ...], outputs: Path, root: Path, workers: int | None
) -> Step:
    folder = outputs / name
    words = [str(root / "train.py"), "-m", f"sweeps={name}"]
    if outputs != Path("outputs"):
        words.append(f"hydra.sweep.dir={folder}")
    if workers != 1:
        words.append("hydra/launcher=joblib")
        words += [f"hydra.launcher.n_jobs={workers}"] if workers else []
    arms, least = _size(name, root / "conf")
    planned = sweep_plan.read(folder) if folder.is_dir() else None
    found = archive.read_all(folder) if folder.is_dir() else []
    return Step(
        name,
        numbers,
        tuple(words),
        folder,
        arms,
        max(least, planned.total if planned else 0),
        status.read(folder).settled if found else 0,
        _seconds(found) or _seconds(archive.read_all(outputs / "reports" / name)),
    )


def _size(name: str, conf: Path) -> tuple[int, int]:
    """Return the arms of a tuned sweep, else 0, and its runs; of a tuned one at least so many."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            composed = compose("config", [f"sweeps={name}"], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"sweeps={name}: {config.explain(error)}") from error
    sweeper = composed.hydra.sweeper
    if "n_trials" in sweeper:
        return 0, int(sweeper.n_trials or _TRIALS) * int(sweeper.seeds_per_trial or 1)
    given = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    overrides = OverridesParser.create().parse_overrides(given)
    [cells] = BasicSweeper.split_arguments(overrides, None)
    if "arms" not in sweeper:
        return 0, len(cells)
    arms = len(cells) * len(sweeper.arms or [()])
    seeds = len(sweeper.seeds or planning.SEEDS)
    return arms, arms * planning.least_runs(seeds, int(sweeper.repeats or 0))


def _seconds(found: Sequence[Record]) -> float | None:
    times = [r.timing.get("total_seconds") for r in found if r.status == "finished"]
    known = [time for time in times if time is not None]
    return sum(known) / len(known) if known else None


def _is_measured(file: Path) -> bool:
    """Whether a measurement is there, whole, and made from the files that are committed now."""
    made = _measurement(file)
    now = provenance.of_run("cpu")
    return bool(made.get("git_commit")) and made["git_commit"] == now["git_commit"]


def _measurement(file: Path) -> dict[str, Any]:
    """Return what made a measurement; empty where it is not there or not whole."""
    try:
        tree: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree.get("provenance") or {}


def text(steps: Sequence[Step], workers: int | None, width: int) -> str:
    """Return the table of what will be run, and about how long it takes."""
    processes = workers or _cores()
    header = ["sweep", "claims", "arms", "runs", "done", "seconds a run", "minutes left"]
    lines = [_line(step, processes) for step in steps]
    known = [hours for step in steps if (hours := _hours(step, processes)) is not None]
    unknown = [step.name for step in steps if _hours(step, processes) is None]
    left = sum(step.left for step in steps)
    said = f"{left} runs to be made, in {processes} processes: about {sum(known):.1f} hours"
    said += f", without {', '.join(unknown)}, of which no run is known." if unknown else "."
    if any(step.arms for step in steps):
        said += (
            " A tuned arm has at least so many runs: its grid is extended while the best rate is "
            "near its edge."
        )
    grid = tables.aligned(tables.Grid(header, lines), width)
    return f"{grid}\n\n{textwrap.fill(said, width, subsequent_indent='  ')}\n"


def _line(step: Step, processes: int) -> list[str]:
    hours = _hours(step, processes)
    minutes = "?" if hours is None else f"{60 * hours:.0f}"
    claims = " ".join(step.claims)
    if step.folder is None:
        return [f"measurement {step.name}", claims, "-", "-", "-", "-", minutes]
    seconds = "?" if step.seconds is None else f"{step.seconds:.1f}"
    runs = f">= {step.runs}" if step.arms else str(step.runs)
    return [step.name, claims, str(step.arms or "-"), runs, str(step.done), seconds, minutes]


def _hours(step: Step, processes: int) -> float | None:
    if step.folder is None:
        return None if step.seconds is None else step.seconds / 3600  # in one process
    if not step.left:
        return 0.0
    return None if step.seconds is None else step.left * step.seconds / processes / 3600


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(steps: Sequence[Step], outputs: Path, again: str) -> list[str]:
    """Make the runs of each step, then each sweep's report; return a sentence for what went wrong.

    Args:
        steps: what `plan` returns.
        outputs: where sweeps are.
        again: the line that goes on after an interruption.

    Raises:
        KeyboardInterrupt: it was stopped; what was running has ended and left its records.
    """
    problems: list[str] = []
    for number, step in enumerate(steps, 1):
        print(f"\n[{number} of {len(steps)}] {step.name}: {_shown(step)}", flush=True)
        code = _child([sys.executable, *step.words])
        if code in _INTERRUPTED or code < 0:
            print(f"stopped at {step.name} ({number} of {len(steps)}); to go on: {again}")
            raise KeyboardInterrupt
        if code:
            problems.append(f"{step.name} ended with exit code {code}: the same line goes on")
        problems += _report(step, outputs)
    return problems


def _shown(step: Step) -> str:
    if step.words[0] == "-m":
        return shlex.join(["python", *step.words])
    return shlex.join(["python", Path(step.words[0]).name, *step.words[1:]])


def _child(command: Sequence[str]) -> int:
    """Run a command to its end and return its exit code.

    It is a session of its own, so that Ctrl-C reaches it once, through us, and we can wait until
    it has written its records. It listens to Ctrl-C even where we were started deaf to it, as a
    shell starts its background jobs. One thread a process: two were slower on these small models.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with _asked_politely():
        own = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits deafness
        child = subprocess.Popen(command, env=environment, start_new_session=True)
        signal.signal(signal.SIGINT, own)
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)


class _asked_politely:
    """Turns a polite kill into Ctrl-C while a child runs."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


def _report(step: Step, outputs: Path) -> Iterator[str]:
    """Write the report of a sweep; its runs are safe whatever becomes of it."""
    if step.folder is None or not step.folder.is_dir():
        return
    try:
        out = outputs / "reports" / step.name
        files = reports.write(step.folder, out, sweep_plan.not_begun(step.folder))
        print(f"wrote {len(files)} files to {out}")
    except ExperimentError as error:
        yield str(error).rstrip(".")


def refuse(problems: Sequence[str]) -> None:
    """End with what went wrong.

    Raises:
        RecordError: naming all of it; nothing where all went well.
    """
    if problems:
        raise RecordError("\n  ".join([f"{len(problems)} of the steps went wrong:", *problems]))
