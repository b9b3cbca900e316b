"""The words of `python -m experiments plan` in, what it prints out."""

import sys
from pathlib import Path

from experiments import config
from experiments.planning import estimate, tables


def show(words: list[str], folder: Path, *, as_json: bool) -> None:
    """Print the plan of every run that some overrides describe.

    Args:
        words: overrides as for train.py.
        folder: of the config files.
        as_json: for a program.

    Raises:
        ExperimentError: a run is illegal, or cannot be planned or probed.
    """
    from hydra_plugins import _experiments_planned as planned

    with config.one_sentence_errors():
        config.refuse_in_arguments(words)
        found = planned.read(words, folder)
        plans = [tables.Named(name, estimate.of(run)) for name, run in found.runs]
    if any(run.plan.probe for _, run in found.runs):
        from experiments.planning import probe

        measured = probe.run_here(plans[0].plan)
        print(measured.sentence(), file=sys.stderr if as_json else sys.stdout)
        plans = [tables.Named(one.name, probe.calibrated(one.plan, measured)) for one in plans]
    render = tables.as_json if as_json else tables.render
    print(render(plans, kind=found.kind, total=found.total))
