"""The deadline of a sweep, its summary, and the error about runs left when time is up."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from experiments import records, reports
from experiments.errors import ConfigError, OutOfBudget
from experiments.records import provenance
from experiments.runtime import budget
from experiments.sweeps import plan, status

_SWEEP_WIDE_KEYS = ("budget", "hub", "resume_from")


def ends_at(overrides: Sequence[Override], master: DictConfig) -> float | None:
    """Return the sweep's deadline in seconds since the epoch; None without one.

    Raises:
        ConfigError: the overrides vary a key that must be the same for all runs of a sweep, or the
            hours are not a number.
    """
    hours = OmegaConf.select(master, "budget.hours")
    for override in overrides:
        key = override.get_key_element().lstrip("+")
        if key.partition(".")[0] in _SWEEP_WIDE_KEYS and override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: a sweep has one {key} for all its runs; give one value."
            )
        if key == "budget.hours":
            hours = override.value()
    if hours is None:
        return None
    try:
        return budget.process_began() + 3600 * float(hours)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"budget.hours={hours}: must be a number of hours, or null.") from error


def print_end(sweep_dir: Path, text: Callable[[], str]) -> None:
    """Print a sweep's summary and send its tables to trackio; does nothing if no run started."""
    if any(sweep_dir.glob(f"*/{records.FILE_NAME}")):
        print(text(), flush=True)
        if message := reports.send(sweep_dir):
            print(message, flush=True)


def summary(sweep_dir: Path) -> str:
    """Return the tables of a sweep's records, and what has not begun."""
    return reports.summarise(sweep_dir, plan.not_begun(sweep_dir))


def raise_if_runs_are_left(sweep_dir: Path) -> None:
    """Raise if the sweep's deadline has passed and it still has runs to do.

    Raises:
        OutOfBudget: with the sweep's progress and the command that resumes it.
    """
    if not budget.is_spent():
        return
    progress = status.read(sweep_dir)
    if progress.to_do:
        raise OutOfBudget(
            f"budget.hours is spent; {sweep_dir}: {progress}. Rerun the same command to resume:\n"
            f"  {provenance.command()}"
        )
