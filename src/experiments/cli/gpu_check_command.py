"""`gpu-check`: measure memory, speed and recovery on this machine's GPU, with random weights."""

import argparse
from pathlib import Path

REPORTS = Path("outputs/reports/gpu_check")
WORK = Path("outputs/gpu_check")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument(
        "--small",
        action="store_true",
        help="use a tiny base, so that every step also runs on a CPU; its speeds mean nothing",
    )
    parser.add_argument(
        "--out", type=Path, default=REPORTS, help=f"folder of the report (default: {REPORTS})"
    )
    parser.add_argument(
        "--work", type=Path, default=WORK, help=f"folder of base and state (default: {WORK})"
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from experiments.calibration.gpu_check import check_runner
    from experiments.calibration.gpu_check.check_setting import CheckSetting

    setting = CheckSetting(arguments.work.resolve(), arguments.small)
    print(f"wrote {check_runner.check(setting, arguments.out)}")
