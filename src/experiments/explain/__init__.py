"""Two runs in, what differs between them out: config, data, environment, training and outcome.

`python -m experiments explain A B` answers "why are these two not the same?" from the records
alone, without a model and without the data. Lists are compared without regard to their order.
In the order of the flow: `trees` (two nested values), `outcome` (scores and curves), `comparison`
(all of it), `showing`. Nothing is imported before the verb is called.
"""

import argparse
from pathlib import Path
from typing import Any


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("explain", help="say what differs between two runs")
    for name in ("a", "b"):
        parser.add_argument(
            name,
            type=Path,
            metavar=name.upper(),
            help="a run's folder, or its record in a report (outputs/reports/NAME/runs/ID.json)",
        )
    parser.set_defaults(verb=_verb)


def _verb(given: argparse.Namespace) -> None:
    from experiments.explain import comparison, showing

    showing.show(comparison.explain(given.a, given.b))
