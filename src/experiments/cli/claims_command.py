"""`claims`: evaluate claims against available runs and print the table of verdicts.

Files are written only with `--write` or `--out`. They always contain all claims, because a table
of a few would overwrite the table of all. `--freeze` writes the rules of all claims and the sweeps
behind them to one file, whose hash the verdicts carry.
"""

import argparse
import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import hydra_arguments
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
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="write the rules and sweeps of all claims to claims/design.json, before their runs",
    )
    hydra_arguments.add_config_dir(parser)
    parser.set_defaults(command=_claims)


def _claims(arguments: argparse.Namespace) -> None:
    from experiments import reports
    from experiments.analysis.claims import claim_files, judging
    from experiments.analysis.claims import design as designs
    from experiments.analysis.claims.evidence import measured_for, runs_of
    from experiments.reports import claims_table
    from experiments.sweeps import claims_runner

    claim_folders = folders.all_of("claims")
    all_claims = claim_files.load(claim_folders)
    selected = claim_files.load(claim_folders, arguments.ids)
    if arguments.freeze:
        _freeze(arguments, all_claims)
        return
    problems = _run(arguments, selected) if arguments.run or arguments.plan else []
    if arguments.plan:
        return
    shown_ids = {claim.id for claim in selected}
    design = designs.read(claim_folders)
    # The primary family is adjusted as a whole, whichever of its claims are shown.
    evidence = runs_of(all_claims, arguments.outputs), measured_for(all_claims, arguments.outputs)
    verdicts = judging.judge(all_claims, *evidence, design)
    shown = [one for one in verdicts if one.claim.id in shown_ids]
    print(claims_table.text(shown, reports.line_width(), design.sha256))
    if arguments.write or arguments.out:
        for file in claims_table.write(
            verdicts, arguments.out or arguments.outputs / "reports" / "claims", design.sha256
        ):
            print(f"wrote {file}")
    claims_runner.refuse(problems)


def _freeze(arguments: argparse.Namespace, claims: "Sequence[Claim]") -> None:
    """Write the design of all claims to the user's own `claims/` and print where it is.

    Raises:
        ConfigError: a sweep cannot be composed, or the earlier file is damaged.
    """
    from experiments import records
    from experiments.analysis.claims import design as designs
    from experiments.sweeps import claims_runner

    search_path = hydra_arguments.search_path(arguments.config_dir)
    steps = claims_runner.plan(claims, arguments.outputs, arguments.workers, search_path)
    budget = {step.name: step.runs for step in steps if step.folder is not None}
    sweeps = {
        name: (folder / f"{name}.yaml").read_text(encoding="utf-8")
        for name in sorted({*budget, *map(designs.shared_file, budget)})
        for folder in reversed(folders.all_of("sweeps"))
        if (folder / f"{name}.yaml").is_file()
    }
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    earlier = designs.read(folders.all_of("claims"))
    design = designs.frozen(earlier, claims, sweeps, budget, now)
    file = folders.root() / "claims" / designs.FILE_NAME
    records.write_atomically(file, designs.as_text(design).encode(), advice="set EXPERIMENTS_ROOT")
    print(f"wrote {file}: commit it before the first run")


def _run(arguments: argparse.Namespace, selected: "Sequence[Claim]") -> list[str]:
    """Print the runs that the claims need and, without `--plan`, execute them.

    Returns:
        One sentence per problem.

    Raises:
        ConfigError: `--workers` is below 1, or a sweep cannot be composed.
    """
    from experiments import reports
    from experiments.sweeps import claims_runner

    if arguments.workers is not None and arguments.workers < 1:
        raise ConfigError(
            f"--workers {arguments.workers}: give 1 or more (1 uses only this process)."
        )
    search_path = hydra_arguments.search_path(arguments.config_dir)
    steps = claims_runner.plan(selected, arguments.outputs, arguments.workers, search_path)
    print(claims_runner.text(steps, arguments.workers, reports.line_width()), flush=True)
    if arguments.plan:
        return []
    options = ["--outputs", str(arguments.outputs)] if arguments.outputs != Path("outputs") else []
    options += ["--write"] if arguments.write else []
    options += ["--out", str(arguments.out)] if arguments.out else []
    options += ["--workers", str(arguments.workers)] if arguments.workers else []
    options += ["-cd", str(arguments.config_dir)] if search_path else []
    command = ["python", "-m", "experiments", "claims", *arguments.ids, "--run", *options]
    return claims_runner.run(steps, arguments.outputs, shlex.join(command))
