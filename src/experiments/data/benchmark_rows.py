"""Read the benchmarks named in `eval.benchmarks` as canonical rows, for evaluation only.

A benchmark is either generated (the tool world) or read from files that are recognised by name, in
`eval.path` or in the copy on the Hugging Face Hub. Rows are shown as published; a row that cannot
be read is rejected with a reason and counted. A row without a gold turn (BFCL's relevance and
irrelevance) ends with the user's message.

The Hub's copy of BFCL seems to use the file names of version 3 (not verified), so the names of
every version are accepted. Finding two versions in one place is an error, since either could be
meant.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from experiments.config.benchmarks import BFCL_CATEGORIES, split_names
from experiments.data import hub_dataset, raw_files, tally, toolworld
from experiments.data.formats import bfcl_rows, nestful, when2call
from experiments.data.formats.convert import convert
from experiments.data.formats.rejection import Rejected
from experiments.errors import DataError

Row = dict[str, Any]
Converter = Callable[[Row, str], Row]
"""Function from a raw row and a fallback id, used if the row has none, to a canonical row."""
EXAMPLES_PER_REASON = 3
# Sizes, weights and seed of conf/data/mixed.yaml, whatever data the run trains on.
TOOLWORLD_ROWS = {"test": 540, "unseen_values": 90, "unseen_tools": 90}
TOOLWORLD_SEED = 1
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


@dataclass
class Benchmark:
    """The rows of one benchmark."""

    name: str
    splits: dict[str, list[Row]]
    """Rows by split of the data, in file order."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Number of rejected rows by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Location and details of the first rejected rows, by reason."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each file's bytes."""
    commit: str | None = None
    """Commit of the Hub repository."""

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for split_rows in self.splits.values() for row in split_rows]

    def reject(self, where: str, rejected: Rejected) -> None:
        """Count a row that cannot be used."""
        self.rejected[rejected.reason] += 1
        examples = self.examples.setdefault(rejected.reason, [])
        if len(examples) < EXAMPLES_PER_REASON:
            examples.append(f"{where}: {rejected.detail}")


def read(name: str, path: str | None, *, dots: bool, max_reject_share: float = 0.2) -> Benchmark:
    """Generate or read the rows of a benchmark.

    Args:
        name: one of `config.benchmarks.NAMES`.
        path: folder or file with the benchmark; None for the copy on the Hub.
        dots: keep the dots in BFCL's function names, see `formats.bfcl`.
        max_reject_share: largest accepted share of rejected rows, 0 to 1.

    Raises:
        DataError: a file is missing or unreadable, several files match, or too many rows are
            rejected.
    """
    if name == "toolworld":
        return _toolworld()
    layout = LAYOUTS[name]
    root, commit = _search_root(layout, path)
    questions = _only_match(root, layout.questions, name)
    companion = _only_match(root, layout.beside, name) if layout.beside else None
    paths = [questions, *([companion] if companion else [])]
    base = root if root.is_dir() else root.parent
    digests = {file.relative_to(base).as_posix(): raw_files.sha256(file) for file in paths}
    benchmark = Benchmark(name, {name: []}, files=digests, commit=commit)
    seen_ids: set[str] = set()
    for where, convert_row in _row_converters(name, questions, companion, dots):
        try:
            row = _converted_row(convert_row, seen_ids)
        except Rejected as rejected:
            benchmark.reject(where, rejected)
        else:
            seen_ids.add(row["id"])
            benchmark.splits[name].append(row | {"source": name, "benchmark": name})
    _check_enough(benchmark, questions, max_reject_share)
    return benchmark


def located_files(name: str, path: str | None) -> list[Path]:
    """Return the local files of a benchmark; none if it is generated or read from the Hub.

    Raises:
        DataError: as in `read`.
    """
    if name == "toolworld" or path is None:
        return []
    layout = LAYOUTS[name]
    root, _ = _search_root(layout, path)
    return [
        _only_match(root, patterns, name)
        for patterns in (layout.questions, layout.beside)
        if patterns
    ]


def known_file(path: Path) -> str | None:
    """Return the benchmark whose questions a file contains, judged by its name, or None.

    Benchmarks in the messages format and file names shared by many data sets are not recognised.
    """
    recognisable = (name for name in LAYOUTS if name.startswith(("bfcl", "nestful_", "when2call")))
    return next((name for name in recognisable if _matches(path, LAYOUTS[name].questions)), None)


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


def _row_converters(
    name: str, questions: Path, companion: Path | None, dots: bool
) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Yield the location of each raw row and a function that converts it."""
    if name.startswith("bfcl_"):
        converter: Converter = _bfcl_converter(name.removeprefix("bfcl_"), companion, dots)
    elif name.startswith("nestful"):
        converter = _nestful_converter(companion)
    elif name == "when2call_test":
        converter = when2call.question
    else:
        converter = _converted
    for index, (where, raw) in enumerate(raw_files.read_rows(questions)):
        yield where.rpartition("/")[2], partial(converter, raw, f"{name}_{index}")


def _converted(raw: Row, row_id: str) -> Row:
    return convert("messages", raw, row_id)


def _bfcl_converter(category: str, answers: Path | None, dots: bool) -> Converter:
    ground_truths: dict[str, Any] = {}
    for where, answer in raw_files.read_rows(answers) if answers else ():
        if str(answer.get("id")) in ground_truths:
            raise DataError(f"{where}: a second answer for {answer['id']}; copy the file again.")
        ground_truths[str(answer.get("id"))] = answer.get("ground_truth")

    def converted(raw: Row, row_id: str) -> Row:
        return bfcl_rows.convert(raw, ground_truths.get(str(raw.get("id"))), category, dots=dots)

    return converted


def _nestful_converter(specification: Path | None) -> Converter:
    tools: list[Row] = []
    if specification is not None:
        try:
            tools = nestful.tools([raw for _, raw in raw_files.read_rows(specification)])
        except Rejected as rejected:
            raise DataError(f"{specification}: {rejected}; copy the file again.") from rejected

    def converted(raw: Row, row_id: str) -> Row:
        return nestful.convert(raw, tools, row_id)

    return converted


def _converted_row(convert_row: Callable[[], Row], seen_ids: set[str]) -> Row:
    try:
        row = convert_row()
    except RecursionError:
        raise Rejected("too_deep", "a value is nested too deeply to be read") from None
    if row["id"] in seen_ids:
        raise Rejected("duplicate_id", f"an earlier row has the id {row['id']}")
    return row


def _check_enough(benchmark: Benchmark, questions: Path, max_reject_share: float) -> None:
    rejected = benchmark.rejected.total()
    if rejected > max_reject_share * (rejected + len(benchmark.rows)):
        reasons = tally.common_reasons(benchmark.rejected, benchmark.examples)
        raise DataError(
            f"{questions}: {rejected} of {rejected + len(benchmark.rows)} rows cannot be used for "
            f"{benchmark.name}: {reasons}; check eval.path, or allow more with "
            "data.max_reject_share."
        )


def _toolworld() -> Benchmark:
    splits = {}
    for split, name in split_names("toolworld").items():
        rows = toolworld.rows(split, TOOLWORLD_ROWS[split], seed=TOOLWORLD_SEED)
        splits[name] = [dict(row) | {"benchmark": "toolworld"} for row in rows]
    return Benchmark("toolworld", splits)


def _bfcl(category: str) -> Layout:
    # Version 3 uses the name `simple` for `simple_python`.
    stems = ("simple", category) if category == "simple_python" else (category,)
    question_files = tuple(f"BFCL_v[0-9]_{stem}.json" for stem in stems)
    answer_files = (
        tuple(f"{_ANSWERS}/{file_name}" for file_name in question_files)
        if bfcl_rows.has_answers(category)
        else ()
    )
    return Layout(question_files, answer_files, "gorilla-llm/Berkeley-Function-Calling-Leaderboard")


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
