"""`run`, `sweep`, `read_runs` and `report` for Python and notebooks.

    import experiments as lx

    record = lx.run(["lora=all_linear", "lora.r=16"])
    frame = lx.sweep(["sweeps=lora_rank"])
    lx.report("outputs/lora_rank")

They take the overrides of the command line and use the same folders, so that a run that a command
has finished is reused here, and the other way round.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments import config, records
from experiments.config import choices, folders
from experiments.errors import ConfigError, ExperimentError, OutOfBudget, RecordError
from experiments.records import Record, archive
from experiments.runtime import placement

if TYPE_CHECKING:
    import pandas

_SINGLE_RUNS = Path("outputs") / "single"
_RUN_FOLDER = "hydra.run.dir="
_OF_HYDRA = re.compile(r"[+~]*hydra[./@=]")


@dataclass(frozen=True, repr=False)
class WrittenReport:
    """A report that was written; a notebook shows its tables."""

    folder: Path
    """The folder with README.md, figures, tables and records."""
    text: str
    """The tables and notes as plain text."""

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__  # what a notebook shows


def run(overrides: Sequence[str] = ()) -> Record:
    """Train and evaluate one run in this process, as `python train.py OVERRIDES` does.

    Args:
        overrides: `key=value` and `group=option`, as on the command line; `hydra.run.dir=FOLDER`
            chooses the folder, by default one below outputs/single.

    Returns:
        The record of the run: `record.scores["tuned"]["calls/exact"]`, `record.folder`. A run that
        has finished before is not repeated.

    Raises:
        ExperimentError: the config is illegal, or the run failed.
    """
    from experiments.sweeps import checked_run

    words = _words(overrides)
    config.refuse_in_arguments(words)
    _refuse_unused(words)
    own_folders = [word.removeprefix(_RUN_FOLDER) for word in words if word.startswith(_RUN_FOLDER)]
    words = [word for word in words if not word.startswith(_RUN_FOLDER)]
    try:
        composed = config.compose(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(config.explain(error)) from error
    checked = checked_run.load(composed)
    placement.see_one_gpu()  # before torch is imported
    from experiments import runs

    folder = Path(own_folders[-1] if own_folders else _SINGLE_RUNS / _now()).absolute()
    given = tuple(choices.plain(words, checked))
    outcome = runs.run_one(checked, runs.Job(folder, not own_folders, overrides=given))
    if not outcome.reused:
        _save_config(outcome.record.folder, OmegaConf.to_yaml(composed), words)
    return outcome.record


def sweep(overrides: Sequence[str]) -> "pandas.DataFrame":
    """Execute a sweep in a process of its own, as `python train.py -m OVERRIDES` does.

    Args:
        overrides: as on the command line: `["sweeps=lora_rank"]` or `["lora.r=1,16", "seed=0,1"]`.

    Returns:
        One line per run, as `read_runs` returns it. Finished runs are not repeated.

    Raises:
        OutOfBudget: `budget.hours` is spent; the same call goes on.
        ExperimentError: a config is illegal, or runs failed; `read_runs(FOLDER)` has the others.
        KeyboardInterrupt: the sweep was interrupted and has saved its checkpoints.
    """
    from experiments.sweeps.hydra import dry_run

    words = _words(overrides)
    folder = dry_run.output_folder(words, folders.conf())
    _execute(["train", "-m", *words])
    return read_runs(folder.absolute())


def read_runs(folder: Path | str) -> "pandas.DataFrame":
    """Return the runs of a sweep, or of a report, one line per run.

    Columns: `run_id`, `status`, each key that the runs were given, each score of the tuned model by
    its name (`calls/exact`), each score of the base as `base calls/exact`, `seconds` and `folder`.

    Raises:
        RecordError: the folder has no record.
    """
    import pandas

    found = archive.read_all(Path(folder))
    if not found:
        raise RecordError(f"{folder} has no record of a run: name the folder of a sweep.")
    found = sorted(found, key=lambda record: (record.job is None, record.job or 0, record.run_id))
    return pandas.DataFrame([_line(record) for record in found])


def report(path: Path | str, out: Path | str | None = None) -> WrittenReport:
    """Write the tables and figures of a run or a sweep, as `lora-experiments report` does.

    Args:
        path: the folder of a run, a sweep or a report.
        out: the report's folder; None = outputs/reports/NAME.

    Raises:
        RecordError: there is no record, or a file cannot be written.
    """
    from experiments import reports
    from experiments.cli.report_command import report_folder
    from experiments.sweeps import plan

    source = Path(path)
    folder = Path(out) if out is not None else report_folder(source)
    left = plan.not_begun(source)
    reports.write(source, folder, left)
    return WrittenReport(folder, reports.summarise(source, left))


def _words(overrides: Sequence[str]) -> list[str]:
    """Return the overrides as text, and refuse options."""
    words = [str(word) for word in overrides]
    for word in words:
        if word.startswith("-"):
            raise ConfigError(
                f"{word} is an option of the command line: give overrides such as lora.r=4, and "
                "name a folder of your own with conf/ in EXPERIMENTS_ROOT."
            )
    return words


def _refuse_unused(words: Sequence[str]) -> None:
    """Check that each override belongs to a single run."""
    for word in words:
        if word.startswith("sweeps="):
            raise ConfigError(f"{word} describes many runs: call experiments.sweep.")
        if _OF_HYDRA.match(word) and not word.startswith(_RUN_FOLDER):
            raise ConfigError(
                f"{word} would not be used by experiments.run, which takes only {_RUN_FOLDER}DIR "
                "of Hydra's keys: leave it out, or call experiments.sweep."
            )


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")


def _save_config(folder: Path, config_text: str, words: Sequence[str]) -> None:
    """Write the files in which Hydra keeps what a run was started with."""
    for name, text in (("config", config_text), ("overrides", OmegaConf.to_yaml(list(words)))):
        records.write_atomically(folder / ".hydra" / f"{name}.yaml", text.encode("utf-8"))


def _execute(words: Sequence[str]) -> None:
    """Execute a command, print its output line by line, and raise its error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches it once: from here
    )
    lines = []
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            print(process.communicate()[0], end="", flush=True)
            raise
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode == config.EXIT_OUT_OF_BUDGET:
        raise OutOfBudget(_last_sentence(lines))
    if process.returncode:
        raise ExperimentError(_last_sentence(lines))


def _last_sentence(lines: Sequence[str]) -> str:
    """Return the error that a command ended with, else its last line."""
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    message = lines[errors[-1] :] if errors else lines[-1:]
    return "".join(message).removeprefix("error: ").strip()


def _line(record: Record) -> dict[str, object]:
    given = (word.partition("=") for word in record.overrides)
    scores = record.scores.get("tuned") or {}
    base = record.scores.get("base") or {}
    return {
        "run_id": record.run_id,
        "status": record.status,
        **{key.lstrip("+"): _value(text) for key, _, text in given},
        **scores,
        **{f"base {name}": value for name, value in base.items()},
        "seconds": record.timing.get("total_seconds"),
        "folder": str(record.folder),
    }


def _value(text: str) -> object:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):  # YAML reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value if isinstance(value, bool | int | float) else text
