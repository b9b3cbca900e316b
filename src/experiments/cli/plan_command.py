"""`plan`: estimate the memory, tokens and hours of runs before they start.

With `--pilot`, finished runs say which margins and hours a design can have.
"""

import argparse
import dataclasses
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from experiments import config
from experiments.cli import hydra_arguments
from experiments.config import RunConfig, folders
from experiments.errors import ConfigError
from experiments.planning import device, estimate, machine_rate, plan_table


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    hydra_arguments.add(parser, "sweeps=NAME hardware=t4")
    parser.add_argument(
        "-m",
        "--multirun",
        action="store_true",
        help="accepted and ignored, so that a command of train.py can be pasted",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--pilot",
        type=Path,
        metavar="FOLDER",
        help="from the finished runs of a pilot sweep, print the noise of differences between its "
        "arms, the margins that 3, 5 and 8 seeds afford, and the hours of the sweep given",
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    with config.one_sentence_errors():
        overrides = hydra_arguments.overrides_of(arguments)
    if arguments.pilot is not None:
        if arguments.json:
            raise ConfigError("plan --pilot prints a table: leave out --json.")
        show_pilot(arguments.pilot, overrides, folders.conf())
        return
    show(overrides, folders.conf(), as_json=arguments.json)


def show(overrides: list[str], folder: Path, *, as_json: bool) -> None:
    """Print the plan of every run that the overrides describe.

    Args:
        overrides: overrides as for train.py.
        folder: the folder of the config files.
        as_json: print JSON instead of a table.

    Raises:
        ExperimentError: a run is invalid, or cannot be planned or probed.
    """
    from experiments.sweeps.hydra import dry_run

    with config.one_sentence_errors():
        config.refuse_in_arguments(overrides)
        planned = dry_run.read(overrides, folder)
        runs_with_rate = _with_rate_of_this_machine([run for _, run in planned.runs])
        names = [name for name, _ in planned.runs]
        plans = [
            plan_table.Named(name, estimate.of(run))
            for name, run in zip(names, runs_with_rate, strict=True)
        ]
    if any(run.plan.probe for _, run in planned.runs):
        from experiments.planning import probe

        measurement = probe.run_here(plans[0].plan)
        print(measurement.sentence(), file=sys.stderr if as_json else sys.stdout)
        plans = [
            plan_table.Named(named.name, probe.calibrated(named.plan, measurement))
            for named in plans
        ]
    render = plan_table.as_json if as_json else plan_table.render
    runs = plan_table.Runs(planned.kind, planned.total, planned.most, planned.arms)
    print(render(plans, runs))


def _with_rate_of_this_machine(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """Return the runs with the measured speed of this machine's CPU, where they run on it."""
    unknown = [run for run in runs if device.of(run).is_cpu and run.hardware.peak_tflops is None]
    if not unknown:
        return list(runs)
    rate = machine_rate.measure()
    return [_with_rate(run, rate) if any(run is u for u in unknown) else run for run in runs]


def _with_rate(run: RunConfig, rate: machine_rate.MachineRate) -> RunConfig:
    hardware = dataclasses.replace(
        run.hardware, peak_tflops=rate.flops / 1e12, memory_gbs=rate.memory_bytes / 1e9
    )
    return dataclasses.replace(run, hardware=hardware)


def show_pilot(pilot_folder: Path, overrides: list[str], folder: Path) -> None:
    """Print what the finished runs of a pilot say about margins, seeds and hours.

    Args:
        pilot_folder: the folder of a sweep or of its report.
        overrides: the sweep that is to be run after the pilot; may be empty.
        folder: the folder of the config files.

    Raises:
        ExperimentError: the pilot has too few arms or seeds, or the sweep cannot be composed.
    """
    from experiments import reports
    from experiments.analysis.arms import pilot
    from experiments.records import archive
    from experiments.reports import comparison_rule, tables

    with config.one_sentence_errors():
        score = comparison_rule.read(pilot_folder).score
        try:
            found = pilot.read(archive.read_all(pilot_folder), score)
        except ConfigError as error:
            raise ConfigError(f"plan --pilot {pilot_folder}: {error}") from error
        cost = _sweep_hours(found.hours, overrides, folder)
    header, rows, notes = pilot.lines(found)
    width = reports.line_width()
    texts = [textwrap.fill(note, width, subsequent_indent="  ") for note in [*notes, *cost]]
    print("\n\n".join([tables.aligned(tables.Grid(header, rows), width), "\n".join(texts)]))


def _sweep_hours(hours: float | None, overrides: list[str], folder: Path) -> list[str]:
    """Return a sentence on the hours of a sweep whose runs take as long as those of the pilot."""
    from experiments.sweeps.hydra import dry_run

    if not overrides:
        return []
    config.refuse_in_arguments(overrides)
    size = dry_run.count(overrides, folder)
    name = " ".join(overrides)
    text = f"{size.runs} runs" if size.arm is None else size.arm_text()
    if hours is None:
        return [f"{name}: {text}."]
    most = f", {size.most_runs * hours:.3g} at most" if size.most_runs > size.runs else ""
    return [
        f"{name}: {text}; {size.runs * hours:.3g} hours expected{most}, one run at a time, if runs "
        "take as long as those of the pilot."
    ]
