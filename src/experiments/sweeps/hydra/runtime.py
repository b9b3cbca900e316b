"""What a sweep does about its time: when it is over, and what is said of the runs that are left.

The leading underscore keeps Hydra from importing this file in every application.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from experiments import records, reports
from experiments.errors import ConfigError, OutOfBudget
from experiments.records import provenance
from experiments.runtime import budget
from experiments.sweeps import status

_ONE_FOR_ALL = ("budget", "hub", "resume_from")


def ends_at(overrides: Sequence[Override], master: DictConfig) -> float | None:
    """Return when the sweep's budget is spent, in seconds since the epoch.

    Raises:
        ConfigError: the overrides vary what a sweep has but one of, or the hours are no number.
    """
    hours = OmegaConf.select(master, "budget.hours")
    for override in overrides:
        key = override.get_key_element().lstrip("+")
        if key.partition(".")[0] in _ONE_FOR_ALL and override.is_sweep_override():
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


def print_end(sweep_dir: Path, summary: Callable[[], str]) -> None:
    """Print a sweep's summary and send its tables to trackio; nothing where no run was begun."""
    if any(sweep_dir.glob(f"*/{records.FILE_NAME}")):
        print(summary(), flush=True)
        if sent := reports.send(sweep_dir):
            print(sent, flush=True)


def refuse_to_be_done(sweep_dir: Path) -> None:
    """End a sweep whose budget is spent and that has runs to do.

    Raises:
        OutOfBudget: with what is left and the line that goes on.
    """
    if not budget.is_spent():
        return
    found = status.read(sweep_dir)
    if found.to_do:
        raise OutOfBudget(
            f"budget.hours is spent; {sweep_dir}: {found}. The same line goes on:\n"
            f"  {provenance.command()}"
        )
