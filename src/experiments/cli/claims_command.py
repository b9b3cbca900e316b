"""`claims`: evaluate claims against available runs and print the table of verdicts.

Files are written only with `--write` or `--out`. They always contain all claims, because a table
of a few would overwrite the table of all.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import folders
from experiments.errors import ConfigError

if TYPE_CHECKING:
    from experiments.analysis.claims.claim import Claim


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("ids", nargs="*", help="names of claim files (default: all)")
    parser.add_argument("--run", action="store_true", help="first execute the missing runs")
    parser.add_argument(
        "--plan", action="store_true", help="print the runs that --run would execute"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of worker processes per sweep (default: one per GPU, or one per core)",
    )
    parser.add_argument(
        "--outputs", type=Path, default=Path("outputs"), help="folder of the sweeps"
    )
    parser.add_argument(
        "--write", action="store_true", help="write the table of all claims, not only those printed"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for the table; implies --write (default: OUTPUTS/reports/claims)",
    )
    parser.set_defaults(command=_claims)


def _claims(given: argparse.Namespace) -> None:
    from experiments import reports
    from experiments.analysis.claims import claim_files, judging
    from experiments.analysis.claims.evidence import measured_for, runs_of
    from experiments.reports import claims_table
    from experiments.sweeps import claims_runner

    searched = folders.all_of("claims")
    every = claim_files.load(searched)
    chosen = claim_files.load(searched, given.ids)
    problems = _run(given, chosen) if given.run or given.plan else []
    if given.plan:
        return
    shown = {claim.id for claim in chosen}
    # All claims form one family of hypotheses, whichever of them are shown.
    at_hand = runs_of(every, given.outputs), measured_for(every, given.outputs)
    found = judging.judge(every, *at_hand)
    print(claims_table.text([v for v in found if v.claim.id in shown], reports.line_width()))
    if given.write or given.out:
        for file in claims_table.write(found, given.out or given.outputs / "reports" / "claims"):
            print(f"wrote {file}")
    claims_runner.refuse(problems)


def _run(given: argparse.Namespace, chosen: "Sequence[Claim]") -> list[str]:
    """Print the runs that the claims need and, without `--plan`, execute them.

    Returns:
        One sentence per problem.

    Raises:
        ConfigError: `--workers` is below 1, or a sweep cannot be composed.
    """
    from experiments import reports
    from experiments.sweeps import claims_runner

    if given.workers is not None and given.workers < 1:
        raise ConfigError(f"--workers {given.workers}: give 1 or more (1 uses only this process).")
    steps = claims_runner.plan(chosen, given.outputs, given.workers)
    print(claims_runner.text(steps, given.workers, reports.line_width()), flush=True)
    if given.plan:
        return []
    options = ["--outputs", str(given.outputs)] if given.outputs != Path("outputs") else []
    options += ["--write"] if given.write else []
    options += ["--out", str(given.out)] if given.out else []
    options += ["--workers", str(given.workers)] if given.workers else []
    words = ["python", "-m", "experiments", "claims", *given.ids, "--run", *options]
    return claims_runner.run(steps, given.outputs, shlex.join(words))
