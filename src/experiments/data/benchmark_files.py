"""Find the files of each benchmark, by name: on this machine, in a package or on the Hub.

Without `eval.path`, BFCL's files are those of an installed package (`bfcl_package`), and the
others' those of a copy on the Hugging Face Hub. In `eval.path`, the file names of every version of
BFCL are accepted. Finding two versions in one place is an error, since either could be meant.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from experiments.config.benchmarks import BFCL_CATEGORIES
from experiments.data import bfcl_package, hub_dataset
from experiments.data.formats import bfcl_rows
from experiments.errors import DataError

_ANSWERS = "possible_answer"


@dataclass(frozen=True)
class Layout:
    """The files of a benchmark, as shell patterns on the end of a path, any of which may match."""

    questions: tuple[str, ...]
    """Patterns of the file with the rows."""
    beside: tuple[str, ...] = ()
    """Patterns of the companion file with answers or tools; empty if the rows need none."""
    hub_id: str | None = None
    """`owner/name` of the copy on the Hub."""


@dataclass(frozen=True)
class Found:
    """The files of a benchmark on this machine."""

    root: Path
    """The folder or file that was searched."""
    questions: Path
    beside: Path | None
    """The companion file."""
    commit: str | None = None
    """Commit of a copy from the Hub."""
    package: str | None = None
    """Name and version of the installed package that contains the files."""

    @property
    def files(self) -> list[Path]:
        """All files."""
        return [self.questions, *([self.beside] if self.beside else [])]


def find(name: str, path: str | None) -> Found:
    """Find the files of a benchmark, or download them.

    Raises:
        DataError: a file is missing, several files match, or an installed package contains other
            questions than the known ones.
    """
    layout, commit, package = LAYOUTS[name], None, None
    if path is None and _in_package(name):
        package = bfcl_package.installed(name)
        root = package.folder
    else:
        root, commit = _search_root(layout, path)
    found = Found(
        root,
        _only_match(root, layout.questions, name),
        _only_match(root, layout.beside, name) if layout.beside else None,
        commit,
        package.name if package else None,
    )
    if package is not None:
        bfcl_package.check(package, name, found.files)
    return found


def located_files(name: str, path: str | None) -> list[Path]:
    """Return the local files of a benchmark; none if it is generated or read from the Hub.

    Raises:
        DataError: as in `find`.
    """
    if name == "toolworld" or (path is None and not _in_package(name)):
        return []
    return find(name, path).files


def known_file(path: Path) -> str | None:
    """Return the benchmark whose questions a file contains, judged by its name, or None.

    Benchmarks in the messages format and file names shared by many data sets are not recognised.
    """
    recognisable = (name for name in LAYOUTS if name.startswith(("bfcl", "nestful_", "when2call")))
    return next((name for name in recognisable if _matches(path, LAYOUTS[name].questions)), None)


def _in_package(name: str) -> bool:
    return name.startswith("bfcl_")


def _search_root(layout: Layout, path: str | None) -> tuple[Path, str | None]:
    """Return the folder or file to search, and the commit of a copy from the Hub."""
    if path is not None:
        root = Path(path).expanduser()
        if not root.exists():
            raise DataError(
                f"eval.path={path}: there is no such file or folder (looked in {Path.cwd()})."
            )
        return root, None
    assert layout.hub_id is not None, "config.benchmarks demands a path for the others"
    try:
        patterns = [f"*{pattern}" for pattern in (*layout.questions, *layout.beside)]
        fetched = hub_dataset.fetch(layout.hub_id, "main", patterns)
    except DataError as error:  # the message names the setting for training data
        raise DataError(str(error).replace("data.path", "eval.path")) from error
    return fetched.folder, fetched.commit


def _only_match(root: Path, patterns: tuple[str, ...], name: str) -> Path:
    """Return the one file whose path matches a pattern, in a folder or beside a file."""
    folder = root if root.is_dir() else root.parent
    candidates = [root] if _matches(root, patterns) else sorted(folder.rglob("*"))
    matching = [path for path in candidates if _matches(path, patterns)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise DataError(
            f"eval.path={root} contains no {' or '.join(patterns)}, which eval.benchmarks={name} "
            "needs: give the folder that contains it."
        )
    listing = ", ".join(path.relative_to(folder).as_posix() for path in matching[:3])
    raise DataError(
        f"eval.path={root} contains {len(matching)} files that match eval.benchmarks={name} "
        f"({listing}): give a folder that contains only one of them."
    )


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    full_path = path.absolute().as_posix()
    matching = [pattern for pattern in patterns if fnmatchcase(full_path, f"*/{pattern}")]
    # Questions and answers have the same file name and differ only in the folder.
    own_patterns = [
        pattern
        for pattern in matching
        if pattern.startswith(_ANSWERS) or path.parent.name != _ANSWERS
    ]
    return bool(own_patterns) and path.is_file()


def _bfcl(category: str) -> Layout:
    # Version 3 uses the name `simple` for `simple_python`.
    stems = ("simple", category) if category == "simple_python" else (category,)
    question_files = tuple(f"BFCL_v[0-9]_{stem}.json" for stem in stems)
    answer_files = (
        tuple(f"{_ANSWERS}/{file_name}" for file_name in question_files)
        if bfcl_rows.has_answers(category)
        else ()
    )
    return Layout(question_files, answer_files)


def _nestful(stem: str) -> Layout:
    return Layout((f"{stem}-data.json",), (f"{stem}-spec.json",))


LAYOUTS = {
    **{f"bfcl_{category}": _bfcl(category) for category in BFCL_CATEGORIES},
    "nestful": Layout(("nestful_data.jsonl", "train-*.parquet"), (), "ibm-research/nestful"),
    "nestful_executable": _nestful("executable"),
    "nestful_glaive": _nestful("non-executable-glaive"),
    "nestful_sgd": _nestful("non-executable-sgd"),
    "when2call_test": Layout(("when2call_test_mcq.jsonl",), (), "nvidia/When2Call"),
    "seal_tools_test_in_domain": Layout(("seal_tools_test_in_domain.jsonl",)),
    "seal_tools_test_out_domain": Layout(("seal_tools_test_out_domain.jsonl",)),
}
"""File layout of each benchmark."""
