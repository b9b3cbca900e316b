"""`plan`: estimate the memory, tokens and hours of runs before they start."""

import argparse
import sys
from pathlib import Path

from experiments import config
from experiments.cli import hydra_arguments
from experiments.config import folders
from experiments.planning import estimate, plan_table


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
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    with config.one_sentence_errors():
        overrides = hydra_arguments.overrides_of(arguments)
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
        plans = [plan_table.Named(name, estimate.of(run)) for name, run in planned.runs]
    if any(run.plan.probe for _, run in planned.runs):
        from experiments.planning import probe

        measurement = probe.run_here(plans[0].plan)
        print(measurement.sentence(), file=sys.stderr if as_json else sys.stdout)
        plans = [
            plan_table.Named(named.name, probe.calibrated(named.plan, measurement))
            for named in plans
        ]
    render = plan_table.as_json if as_json else plan_table.render
    print(render(plans, kind=planned.kind, total=planned.total))
