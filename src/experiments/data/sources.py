"""Read the canonical rows of each source by split; rows that cannot be read are counted.

Canonical rows are described in `formats.convert`. Rows are never repaired: a row is kept as its
source wrote it, or rejected with one of `formats.REASONS`.
"""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.config import ColumnsConfig, DataConfig, SourceConfig
from experiments.data import (
    benchmark_rows,
    decontamination,
    evaluation_rows,
    hub_dataset,
    mixture,
    raw_files,
    tally,
    toolworld,
)
from experiments.data.formats import columns
from experiments.data.formats.convert import convert
from experiments.data.formats.rejection import Rejected
from experiments.errors import DataError

Row = dict[str, Any]
EXAMPLES_PER_REASON = 3


@dataclass
class SourceRows:
    """The canonical rows of one source."""

    splits: dict[str, list[Row]]
    rejected: Counter[str] = field(default_factory=Counter)
    """Number of rejected rows by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Location and details of the first rejected rows, by reason."""
    rejects: list[Row] = field(default_factory=list)
    """The rejected raw rows, with `where`, `reason` and `detail`."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each file's bytes."""
    commit: str | None = None
    """Commit of the Hub repository."""
    not_trained: Counter[str] = field(default_factory=Counter)
    """Number of turns or rows that are read but not trained, by reason."""
    unused_columns: Counter[str] = field(default_factory=Counter)
    """Number of rows with a value in each column that no format reads."""
    completions_like_calls: int = 0
    """Rows whose completion looks like a call but is trained and scored as text."""
    held_back_twins: int = 0
    """Training rows removed because a held-back split contains the same prompt."""

    @property
    def rows(self) -> list[Row]:
        """All kept rows."""
        return [row for members in self.splits.values() for row in members]


@dataclass(frozen=True)
class Located:
    """A source whose files are available locally."""

    spec: SourceConfig
    key: str
    """Config key of the source, for messages."""
    name: str
    """Name of the source in a mixture, otherwise its label; becomes the `source` of its rows."""
    place: Path | None = None
    """File or folder; None for a generated source."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of each file's bytes."""
    commit: str | None = None
    """Commit of the Hub repository."""
    trained: bool = True
    """False for a source of weight 0: only its held-back rows are used."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of the files to read from the folder; empty means all."""
        spec = self.spec
        pattern = spec.subsets[spec.subset] if spec.subset else spec.files
        return (pattern,) if pattern else ()


def locate(spec: DataConfig) -> dict[str, Located]:
    """Find or download the sources of a data config, by name.

    A source with weight 0 in a mixture is included if rows of it are held back: weights decide what
    is trained on, never what is evaluated.

    Raises:
        DataError: a file or dataset is missing, unreachable or reserved for evaluation.
    """
    if spec.source != "mixture":
        named: dict[str, tuple[str, SourceConfig]] = {spec.label: ("data", spec)}
    else:
        named = {
            n: (f"data.sources.{n}", one)
            for n, one in spec.sources.items()
            if one.weight or _holds_back(one, spec)
        }
    for name, (_, one) in named.items():
        known_as = Path(one.path).name if one.path else name
        decontamination.refuse_evaluation_sets(known_as, one.hub_id, one.subset or one.files)
    mixes = spec.source == "mixture"
    return {
        name: replace(_locate(one, key, name), trained=not mixes or bool(one.weight))
        for name, (key, one) in named.items()
    }


def _holds_back(source: SourceConfig, spec: DataConfig) -> bool:
    if source.source == "toolworld":
        return any(getattr(source, f"{split}_rows") for split in toolworld.SPLITS[1:])
    return bool(spec.validation_share or spec.test_share)


def locate_tests(spec: DataConfig) -> dict[str, Located]:
    """Find or download the data sets that are only used for evaluation, by name.

    Raises:
        DataError: a file or dataset is missing, unreachable or belongs to a benchmark.
    """
    for name, one in spec.test_sources.items():
        _refuse_benchmarks(f"data.test_sources.{name}", one)
    return {
        name: _locate(one, f"data.test_sources.{name}", name)
        for name, one in spec.test_sources.items()
    }


def _refuse_benchmarks(key: str, spec: SourceConfig) -> None:
    """Refuse files of a benchmark, whose rows span two files or have a benchmark-only layout."""
    if spec.path is None or spec.files is not None:
        return
    place = Path(spec.path).expanduser()
    for path in sorted(place.rglob("*.json*")) if place.is_dir() else [place]:
        if name := benchmark_rows.known_file(path):
            raise DataError(
                f"{key}.path={spec.path}: {path.name} is a file of the benchmark {name}; evaluate "
                f"on it with eval.benchmarks=[{name}] eval.path=FOLDER instead."
            )


def read(located: Located, *, validation: float, test: float) -> SourceRows:
    """Read or generate the rows of a source, by split.

    Args:
        located: the source.
        validation: share of the file's rows held back for validation.
        test: share held back as the test split; 1 means the set is only used for evaluation.

    Raises:
        DataError: a file is empty, damaged or mostly unreadable.
    """
    spec = located.spec
    if spec.source == "toolworld":
        found = _generate(spec)
    else:
        found = _read_files(located)
        held_back = (validation, test)
        found.splits, found.held_back_twins = _split(found.splits["all"], spec, held_back)
    if not located.trained:
        found.splits.pop("train", None)
    return found


def read_all(spec: DataConfig) -> dict[str, SourceRows]:
    """Read all sources of a data config, by name.

    Raises:
        DataError: as in `locate` and `read`.
    """
    shares = {"validation": spec.validation_share or 0.0, "test": spec.test_share or 0.0}
    return {name: read(one, **shares) for name, one in locate(spec).items()}


def _generate(spec: SourceConfig) -> SourceRows:
    """Generate the rows of the tool world.

    The weights apply to the training rows. In all other splits, each category named in `weights`
    has an equal share, so that runs with other weights are evaluated on the same rows.
    """
    splits = {}
    for split in toolworld.SPLITS:
        count = getattr(spec, f"{split}_rows") or 0
        weights = spec.weights if split == "train" else dict.fromkeys(spec.weights, 1.0)
        if count:
            made = toolworld.rows(split, count, seed=spec.seed, weights=weights)
            splits[split] = [dict(row) for row in made]
    return SourceRows(splits)


def _read_files(located: Located) -> SourceRows:
    """Convert all rows of a file, a folder or a Hub dataset into the split `all`."""
    assert located.place is not None, "locate sets it"
    spec = located.spec
    found = SourceRows({"all": []}, files=located.files, commit=located.commit)
    for position, raw in raw_files.read_rows(located.place, located.patterns):
        where = position.rpartition("/")[2]  # no local path may end up in ids or records
        named = _renamed(raw, spec.columns)
        layout = spec.format or _detected(named)
        if unused := columns.unused(layout, named):
            found.unused_columns.update(unused)
        try:
            row = convert(layout, named, where.replace(", ", ":"), found.not_trained)
        except Rejected as rejected:
            _note_rejection(found, where, raw, rejected)
        else:
            row["source"] = raw.get("source") or located.name
            found.splits["all"].append(row)
            if layout == "prompt_completion":
                found.completions_like_calls += columns.like_call(row)
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
        fetched = hub_dataset.fetch(spec.hub_id, spec.revision or "main", wanted.patterns)
        place, commit = fetched.folder, fetched.commit
    read = raw_files.data_files(place, wanted.patterns)
    root = place if place.is_dir() else place.parent
    digests = {path.relative_to(root).as_posix(): raw_files.sha256(path) for path in read}
    return replace(wanted, place=place, files=digests, commit=commit)


def _renamed(raw: Row, own_names: ColumnsConfig) -> Row:
    """Return the row with the user's column names replaced by the standard ones."""
    names = {"prompt", "completion", "messages", "tools", "id"}
    own = {name: getattr(own_names, name) for name in names if getattr(own_names, name)}
    if not own:
        return raw
    taken = {*own, *own.values()}
    if own.get("prompt") == "instruction":  # Alpaca's column, which belongs to `input`
        del own["prompt"]
        taken -= {"instruction"}
    renamed = {k: v for k, v in raw.items() if k not in taken}
    return renamed | {name: raw[column] for name, column in own.items() if column in raw}


def _detected(raw: Row) -> str:
    """Return the format of a user's row, detected from its columns."""
    if "messages" in raw:
        return "messages"
    if "conversations" in raw:
        return "sharegpt"
    return "prompt_completion" if {"prompt", "completion", "instruction"} & set(raw) else "messages"


def _note_rejection(found: SourceRows, where: str, raw: Row, rejected: Rejected) -> None:
    if rejected.reason == "not_trained":
        found.not_trained[f"rows left out: {rejected.detail}"] += 1
        return
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
        reasons = tally.common_reasons(found.rejected, found.examples)
        raise DataError(
            f"{place}: {rejected} of {total} rows cannot be read: {reasons}; check {key}.format "
            f"and {key}.columns, or allow more with {key}.max_reject_share."
        )


def _split(
    rows: list[Row], spec: SourceConfig, held_back: tuple[float, float]
) -> tuple[dict[str, list[Row]], int]:
    """Hold rows back for validation and test, and subsample the training rows.

    The held-back rows depend on the contents of the rows and on `seed`, not on their positions, and
    are the same for every `fraction` and `limit`. Returns the splits, and the number of training
    rows that were removed because their prompt is held back too.
    """
    if held_back[1] == 1:  # evaluation only: subsample the evaluated rows
        rows = mixture.subset(rows, fraction=spec.fraction, limit=spec.limit, seed=spec.seed)
    drawn = [rows[i] for i in _order(rows, spec.seed)] if any(held_back) else _shuffled(rows, spec)
    validation, test = (round(len(drawn) * share) for share in held_back)
    splits = {
        "test": drawn[:test],
        "validation": drawn[test : test + validation],
        "train": drawn[test + validation :],
    }
    held = [row for split in ("test", "validation") for row in splits[split]]
    fresh, twins = decontamination.without_overlap(splits["train"], held)
    splits["train"] = mixture.subset(
        fresh, fraction=spec.fraction, limit=spec.limit, seed=spec.seed
    )
    return {split: members for split, members in splits.items() if members}, twins


def _shuffled(rows: list[Row], spec: SourceConfig) -> list[Row]:
    shuffled = list(rows)
    random.Random(f"split {spec.seed}").shuffle(shuffled)
    return shuffled


def _order(rows: list[Row], seed: int) -> list[int]:
    """Return the indices of rows in a random order determined by their contents and the seed."""
    ranks = [hashlib.sha256(f"split {seed} {evaluation_rows.digest(row)}".encode()) for row in rows]
    return sorted(range(len(rows)), key=lambda i: ranks[i].digest())
