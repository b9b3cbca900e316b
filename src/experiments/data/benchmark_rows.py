"""Read the benchmarks named in `eval.benchmarks` as canonical rows, for evaluation only.

A benchmark is either generated (the tool world) or read from files (`benchmark_files`). Rows are
shown as published; a row that cannot be read is rejected with a reason and counted. A row without a
gold turn (BFCL's relevance and irrelevance) ends with the user's message.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from experiments.config.benchmarks import split_names
from experiments.data import benchmark_files, raw_files, tally, toolworld
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
    package: str | None = None
    """Name and version of the installed package that contains the files."""

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
        path: folder or file with the benchmark; None for the place of `benchmark_files.find`.
        dots: keep the dots in BFCL's function names, see `formats.bfcl`.
        max_reject_share: largest accepted share of rejected rows, 0 to 1.

    Raises:
        DataError: a file is missing or unreadable, several files match, or too many rows are
            rejected.
    """
    if name == "toolworld":
        return _toolworld()
    found = benchmark_files.find(name, path)
    base = found.root if found.root.is_dir() else found.root.parent
    digests = {file.relative_to(base).as_posix(): raw_files.sha256(file) for file in found.files}
    benchmark = Benchmark(
        name, {name: []}, files=digests, commit=found.commit, package=found.package
    )
    seen_ids: set[str] = set()
    for where, convert_row in _row_converters(name, found.questions, found.beside, dots):
        try:
            row = _converted_row(convert_row, seen_ids)
        except Rejected as rejected:
            benchmark.reject(where, rejected)
        else:
            seen_ids.add(row["id"])
            benchmark.splits[name].append(row | {"source": name, "benchmark": name})
    _check_enough(benchmark, found.questions, max_reject_share)
    return benchmark


def keep(benchmark: Benchmark, count: int) -> None:
    """Keep a fixed number of the rows, drawn by a hash of their ids, in the order of the hash.

    A smaller number gives the first rows of a larger one.

    Raises:
        DataError: the benchmark has fewer rows.
    """
    [(split, rows)] = benchmark.splits.items()
    if count > len(rows):
        raise DataError(
            f"eval.benchmark_rows.{benchmark.name}={count}: it has {len(rows)} rows; set at most "
            "that number, or remove the key to evaluate all of them."
        )
    ranked = sorted(rows, key=lambda row: hashlib.sha256(str(row["id"]).encode()).digest())
    benchmark.splits[split] = ranked[:count]


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
