"""`push`: upload a finished run to the Hub."""

import argparse
from pathlib import Path

from experiments import config, records
from experiments.config import HubConfig
from experiments.errors import ConfigError, RecordError
from experiments.records.hub import pushing, repository


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to the parser."""
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("--repo", required=True, help="owner/name; created if it does not exist")
    parser.add_argument(
        "--public", action="store_true", help="if the repository is new, make it public"
    )
    parser.add_argument("--checkpoints", action="store_true", help="also upload the checkpoints")
    parser.set_defaults(command=_push)


def _push(arguments: argparse.Namespace) -> None:
    record = records.read(arguments.run / records.FILE_NAME)
    if record.status != "finished":
        raise RecordError(
            f"{arguments.run} is {record.status}, not finished: finish the run first."
        )
    if record.adapter and not (arguments.run / "adapter").is_dir():
        raise RecordError(
            f"{arguments.run} has no adapter (trainer.keep): repeat the run with "
            "trainer.keep=adapter."
        )
    if not config.is_repo(arguments.repo):
        raise ConfigError(f"--repo {arguments.repo}: write it as owner/name.")
    repository.check(HubConfig(push=True, repo=arguments.repo, private=not arguments.public))
    pushing.push(record, arguments.repo, checkpoints=arguments.checkpoints)
