"""A data description -> canonical rows by source and split; a row that cannot be read is counted.

Canonical rows are described in `formats`. Nothing is mended: a row is kept as its source wrote it,
or rejected with one of `formats.REASONS`.
"""

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments import toolworld
from experiments.config import ColumnsConfig, DataConfig, SourceConfig
from experiments.data import benchmarks, files, guard, hub, mixture
from experiments.data.formats import Rejected, convert
from experiments.errors import DataError

Row = dict[str, Any]
EXAMPLES_PER_REASON = 3


@dataclass
class SourceRows:
    """The canonical rows of one source."""

    splits: dict[str, list[Row]]
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason -> number of rows."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> where the first rows stand and what was found."""
    rejects: list[Row] = field(default_factory=list)
    """The rejected rows as they were, with `where`, `reason` and `detail`."""
    files: dict[str, str] = field(default_factory=dict)
    """File -> sha256 of its bytes."""
    commit: str | None = None
    """Commit of the hub's repository."""
    held_back_twins: int = 0
    """Training rows left out because the same prompt is in a held-back split."""

    @property
    def rows(self) -> list[Row]:
        """All kept rows."""
        return [row for members in self.splits.values() for row in members]


@dataclass(frozen=True)
class Located:
    """A source whose files are here."""

    spec: SourceConfig
    key: str
    """Where the config names it, for messages."""
    name: str
    """In a mixture its name there, else its label; what its rows are from."""
    place: Path | None = None
    """File or folder; None for a generated source."""
    files: dict[str, str] = field(default_factory=dict)
    """File -> sha256 of its bytes."""
    commit: str | None = None
    """Commit of the hub's repository."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Which files of the folder are read; none = all of them."""
        spec = self.spec
        pattern = spec.subsets[spec.subset] if spec.subset else spec.files
        return (pattern,) if pattern else ()


def locate(spec: DataConfig) -> dict[str, Located]:
    """Find or fetch the sources of a data description, by name.

    Raises:
        DataError: a file or dataset is missing or out of reach, or for evaluation only.
    """
    if spec.source != "mixture":
        named: dict[str, tuple[str, SourceConfig]] = {spec.label: ("data", spec)}
    else:
        named = {n: (f"data.sources.{n}", one) for n, one in spec.sources.items() if one.weight}
    for name, (_, one) in named.items():
        known_as = Path(one.path).name if one.path else name
        guard.refuse_evaluation_sets(known_as, one.hub_id, one.subset or one.files)
    return {name: _locate(one, key, name) for name, (key, one) in named.items()}


def locate_tests(spec: DataConfig) -> dict[str, Located]:
    """Find or fetch the sets that are for evaluation only, by name.

    Raises:
        DataError: a file or dataset is missing or out of reach, or is a benchmark's.
    """
    for name, one in spec.test_sources.items():
        _refuse_benchmarks(f"data.test_sources.{name}", one)
    return {
        name: _locate(one, f"data.test_sources.{name}", name)
        for name, one in spec.test_sources.items()
    }


def _refuse_benchmarks(key: str, spec: SourceConfig) -> None:
    """Refuse files whose rows are in two files, or in a layout that only a benchmark has."""
    if spec.path is None or spec.files is not None:
        return
    place = Path(spec.path).expanduser()
    for path in sorted(place.rglob("*.json*")) if place.is_dir() else [place]:
        if name := benchmarks.known_file(path):
            raise DataError(
                f"{key}.path={spec.path}: {path.name} is a file of the benchmark {name}; ask it "
                f"with eval.benchmarks=[{name}] eval.path=FOLDER instead."
            )


def read(located: Located, *, validation: float, test: float) -> SourceRows:
    """Read or generate the rows of a source, by split.

    Args:
        located: the source.
        validation: share of the rows of files that is held back for validation.
        test: share that is held back as test split; 1 = the set is for evaluation only.

    Raises:
        DataError: a file is empty, damaged, or mostly unreadable.
    """
    spec = located.spec
    if spec.source == "toolworld":
        return _generate(spec)
    found = _read_files(located)
    rows = mixture.subset(found.splits["all"], limit=spec.limit, seed=spec.seed)
    found.splits, found.held_back_twins = _split(rows, spec, (validation, test))
    return found


def read_all(spec: DataConfig) -> dict[str, SourceRows]:
    """Read all sources of a data description, by name.

    Raises:
        DataError: as `locate` and `read`.
    """
    shares = {"validation": spec.validation_share or 0.0, "test": spec.test_share or 0.0}
    return {name: read(one, **shares) for name, one in locate(spec).items()}


def _generate(spec: SourceConfig) -> SourceRows:
    splits = {}
    for split in toolworld.SPLITS:
        count = getattr(spec, f"{split}_rows") or 0
        if count:
            made = toolworld.rows(split, count, seed=spec.seed, weights=spec.weights)
            splits[split] = [dict(row) for row in made]
    return SourceRows(splits)


def _read_files(located: Located) -> SourceRows:
    """Convert all rows of a file, a folder or a hub dataset into the split `all`."""
    assert located.place is not None, "locate sets it"
    spec = located.spec
    found = SourceRows({"all": []}, files=located.files, commit=located.commit)
    for position, raw in files.read_rows(located.place, located.patterns):
        where = position.rpartition("/")[2]  # ids and records never hold a path of this machine
        named = _renamed(raw, spec.columns)
        try:
            row = convert(spec.format or _detected(named), named, where.replace(", ", ":"))
        except Rejected as rejected:
            _note_rejection(found, where, raw, rejected)
        else:
            row["source"] = raw.get("source") or located.name
            found.splits["all"].append(row)
    _check_enough(found, str(located.place), located.key, spec.max_reject_share)
    return found


def _locate(spec: SourceConfig, key: str, name: str) -> Located:
    wanted = Located(spec, key, name)
    if spec.source == "toolworld":
        return wanted
    commit = None
    if spec.path is not None:
        place = Path(spec.path).expanduser()
        if not place.exists():
            raise DataError(
                f"{key}.path={spec.path}: there is no such file or folder (looked in {Path.cwd()})."
            )
    else:
        assert spec.hub_id is not None, "SourceConfig.source_problems demands one"
        fetched = hub.fetch(spec.hub_id, spec.revision or "main", wanted.patterns)
        place, commit = fetched.folder, fetched.commit
    read = files.data_files(place, wanted.patterns)
    root = place if place.is_dir() else place.parent
    digests = {path.relative_to(root).as_posix(): files.sha256(path) for path in read}
    return replace(wanted, place=place, files=digests, commit=commit)


def _renamed(raw: Row, columns: ColumnsConfig) -> Row:
    """Return the row with the user's column names replaced by the usual ones."""
    names = {"prompt", "completion", "messages", "tools", "id"}
    own = {name: getattr(columns, name) for name in names if getattr(columns, name)}
    if not own:
        return raw
    renamed = {k: v for k, v in raw.items() if k not in own}
    return renamed | {name: raw[column] for name, column in own.items() if column in raw}


def _detected(raw: Row) -> str:
    """Return the format of a user's row by its columns."""
    if "messages" in raw:
        return "messages"
    if "conversations" in raw:
        return "sharegpt"
    return "prompt_completion" if {"prompt", "completion"} & set(raw) else "messages"


def _note_rejection(found: SourceRows, where: str, raw: Row, rejected: Rejected) -> None:
    found.rejected[rejected.reason] += 1
    shown = found.examples.setdefault(rejected.reason, [])
    if len(shown) < EXAMPLES_PER_REASON:
        shown.append(f"{where}: {rejected.detail}")
    about = {"where": where, "reason": rejected.reason, "detail": rejected.detail}
    found.rejects.append(about | {"row": raw})


def _check_enough(found: SourceRows, place: str, key: str, allowed: float) -> None:
    rejected = found.rejected.total()
    total = len(found.splits["all"]) + rejected
    if rejected > allowed * total:
        reasons = "; ".join(
            f"{reason} ({count}, such as {found.examples[reason][0]})"
            for reason, count in found.rejected.most_common(3)
        )
        raise DataError(
            f"{place}: {rejected} of {total} rows cannot be read: {reasons}. Check {key}.format, "
            f"{key}.columns, or allow more with {key}.max_reject_share."
        )


def _split(
    rows: list[Row], spec: SourceConfig, held_back: tuple[float, float]
) -> tuple[dict[str, list[Row]], int]:
    """Hold rows back for validation and test, and thin the training rows to `fraction`.

    The held-back rows are the same at every fraction. Returns the splits, and how many training
    rows were left out because their prompt is held back too.
    """
    shuffled = list(rows)
    random.Random(f"split {spec.seed}").shuffle(shuffled)
    validation, test = (round(len(shuffled) * share) for share in held_back)
    splits = {
        "test": shuffled[:test],
        "validation": shuffled[test : test + validation],
        "train": shuffled[test + validation :],
    }
    held = [row for split in ("test", "validation") for row in splits[split]]
    fresh, twins = guard.without_overlap(splits["train"], held)
    splits["train"] = mixture.subset(fresh, fraction=spec.fraction, seed=spec.seed)
    return {split: members for split, members in splits.items() if members}, twins
