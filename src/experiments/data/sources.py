"""Read the canonical rows of each source by split; rows that cannot be read are counted.

Canonical rows are described in `formats.convert`. Rows are never repaired: a row is kept as its
source wrote it, or rejected with one of `formats.REASONS`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.config import ColumnsConfig, DataConfig, SourceConfig
from experiments.data import (
    benchmark_files,
    decontamination,
    hub_dataset,
    raw_files,
    service_schemas,
    splitting,
    tally,
    toolworld,
)
from experiments.data.formats import columns
from experiments.data.formats.convert import convert
from experiments.data.formats.rejection import Rejected
from experiments.data.located import Located
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
        return [row for split_rows in self.splits.values() for row in split_rows]


def locate(spec: DataConfig) -> dict[str, Located]:
    """Find or download the sources of a data config, by name.

    `data.train_seed` is a number or null here (`DataConfig.with_train_seed`). A source with weight
    0 in a mixture is included if rows of it are held back: weights decide what is trained on, never
    what is evaluated.

    Raises:
        DataError: a file or dataset is missing, unreachable or reserved for evaluation.
    """
    if spec.source != "mixture":
        keyed_sources: dict[str, tuple[str, SourceConfig]] = {spec.label: ("data", spec)}
    else:
        keyed_sources = {
            source_name: (f"data.sources.{source_name}", source)
            for source_name, source in spec.sources.items()
            if source.weight or _holds_back(source, spec)
        }
    for name, (_, source) in keyed_sources.items():
        source_file_name = Path(source.path).name if source.path else name
        decontamination.refuse_evaluation_sets(
            source_file_name, source.hub_id, source.subset or source.files
        )
    is_mixture = spec.source == "mixture"
    return {
        name: replace(
            _locate_source(source, key, name),
            train_seed=spec.train_seed,
            trained=not is_mixture or bool(source.weight),
        )
        for name, (key, source) in keyed_sources.items()
    }


def _holds_back(source: SourceConfig, spec: DataConfig) -> bool:
    if source.source == "toolworld":
        return any(getattr(source, f"{split}_rows") for split in toolworld.SPLITS[1:])
    published = source.validation_files or source.test_files
    own = source.validation_rows or source.test_rows
    return bool(published or own or spec.validation_share or spec.test_share)


def locate_tests(spec: DataConfig) -> dict[str, Located]:
    """Find or download the data sets that are only used for evaluation, by name.

    Raises:
        DataError: a file or dataset is missing, unreachable or belongs to a benchmark.
    """
    for name, source in spec.test_sources.items():
        _refuse_benchmarks(f"data.test_sources.{name}", source)
    return {
        name: _locate_source(source, f"data.test_sources.{name}", name)
        for name, source in spec.test_sources.items()
    }


def _refuse_benchmarks(key: str, spec: SourceConfig) -> None:
    """Refuse files of a benchmark, whose rows span two files or have a benchmark-only layout."""
    if spec.path is None or spec.files is not None:
        return
    place = Path(spec.path).expanduser()
    for path in sorted(place.rglob("*.json*")) if place.is_dir() else [place]:
        if name := benchmark_files.known_file(path):
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
    train_seed = spec.seed if located.train_seed is None else located.train_seed
    if spec.source == "toolworld":
        source_rows = _generate(spec, train_seed)
    else:
        source_rows = _read_files(located)
        shares = {"validation": validation, "test": test}
        source_rows.splits, source_rows.held_back_twins = splitting.split(
            source_rows.splits, spec, shares, train_seed
        )
    if not located.trained:
        source_rows.splits.pop("train", None)
    return source_rows


def read_all(spec: DataConfig) -> dict[str, SourceRows]:
    """Read all sources of a data config, by name.

    Raises:
        DataError: as in `locate` and `read`.
    """
    shares = {"validation": spec.validation_share or 0.0, "test": spec.test_share or 0.0}
    return {name: read(located, **shares) for name, located in locate(spec).items()}


def _generate(spec: SourceConfig, train_seed: int) -> SourceRows:
    """Generate the rows of the tool world.

    The weights apply to the training rows. In all other splits, each category named in `weights`
    has an equal share, so that runs with other weights are evaluated on the same rows.
    """
    splits = {}
    for split in toolworld.SPLITS:
        count = getattr(spec, f"{split}_rows") or 0
        weights = spec.weights if split == "train" else dict.fromkeys(spec.weights, 1.0)
        if count:
            seed = train_seed if split == "train" else spec.seed
            generated = toolworld.rows(split, count, seed=seed, weights=weights)
            splits[split] = [dict(row) for row in generated]
    return SourceRows(splits)


def _read_files(located: Located) -> SourceRows:
    """Convert all rows of a file, a folder or a Hub dataset.

    The rows of published splits are under the names of these, all others in the split `all`.
    """
    source_rows = SourceRows({}, files=located.files, commit=located.commit)
    for split, paths in located.data_files().items():
        source_rows.splits[split] = [
            row for path in paths for row in _read_file(path, located, source_rows)
        ]
    _check_enough(source_rows, str(located.place), located.key, located.spec.max_reject_share)
    return source_rows


def _read_file(path: Path, located: Located, source_rows: SourceRows) -> Iterator[Row]:
    """Yield the canonical rows of a file, and count the others."""
    spec = located.spec
    for position, raw in service_schemas.added(spec.format, path, raw_files.read_rows(path)):
        where = position.rpartition("/")[2]  # no local path may end up in ids or records
        standard_row = _renamed(raw, spec.columns)
        layout = columns.layout(spec.format, standard_row)
        if unused := columns.unused(layout, standard_row):
            source_rows.unused_columns.update(unused)
        try:
            row = convert(layout, standard_row, where.replace(", ", ":"), source_rows.not_trained)
        except Rejected as rejected:
            _note_rejection(source_rows, where, raw, rejected)
        else:
            row["source"] = raw.get("source") or located.name
            if layout == "prompt_completion":
                source_rows.completions_like_calls += columns.like_call(row)
            yield row


def _locate_source(spec: SourceConfig, key: str, name: str) -> Located:
    located = Located(spec, key, name)
    if spec.source == "toolworld":
        return located
    commit = None
    if spec.path is not None:
        place = Path(spec.path).expanduser()
        if not place.exists():
            raise DataError(
                f"{key}.path={spec.path}: there is no such file or folder (looked in {Path.cwd()})."
            )
    else:
        assert spec.hub_id is not None, "SourceConfig.source_problems demands one"
        patterns = located.patterns
        if patterns:
            published = located.published.values()
            patterns += tuple(pattern for more in published for pattern in more)
        fetched = hub_dataset.fetch(spec.hub_id, spec.revision or "main", patterns)
        place, commit = fetched.folder, fetched.commit
    if place.is_file() and located.published:
        raise DataError(_one_file(key, spec))
    located = replace(located, place=place, commit=commit)
    paths = [path for split_paths in located.data_files().values() for path in split_paths]
    root = place if place.is_dir() else place.parent
    digests = {
        path.relative_to(root).as_posix(): raw_files.sha256(path)
        for path in [*paths, *service_schemas.files(spec.format, paths)]
    }
    return replace(located, files=digests)


def _one_file(key: str, spec: SourceConfig) -> str:
    """Return the message for a single file where a folder with published splits is needed."""
    keys = [name for name in ("test_files", "validation_files") if getattr(spec, name)]
    without = " ".join(f"{key}.{name}=null" for name in keys)
    return (
        f"{key}.path={spec.path} is one file, but {spec.label} is evaluated on its published "
        f"split ({getattr(spec, keys[0])}): give the folder that contains both, or hold out rows "
        f"of the file with {without} {key}.test_rows=300."
    )


def _renamed(raw: Row, column_settings: ColumnsConfig) -> Row:
    """Return the row with the user's column names replaced by the standard ones."""
    names = {"prompt", "completion", "messages", "tools", "id"}
    column_names = {
        name: getattr(column_settings, name) for name in names if getattr(column_settings, name)
    }
    if not column_names:
        return raw
    renamed_columns = {*column_names, *column_names.values()}
    if column_names.get("prompt") == "instruction":  # Alpaca's column, which belongs to `input`
        del column_names["prompt"]
        renamed_columns -= {"instruction"}
    renamed = {k: v for k, v in raw.items() if k not in renamed_columns}
    return renamed | {name: raw[column] for name, column in column_names.items() if column in raw}


def _note_rejection(source_rows: SourceRows, where: str, raw: Row, rejected: Rejected) -> None:
    if rejected.reason == "not_trained":
        source_rows.not_trained[f"rows left out: {rejected.detail}"] += 1
        return
    source_rows.rejected[rejected.reason] += 1
    examples = source_rows.examples.setdefault(rejected.reason, [])
    if len(examples) < EXAMPLES_PER_REASON:
        examples.append(f"{where}: {rejected.detail}")
    rejection = {"where": where, "reason": rejected.reason, "detail": rejected.detail}
    source_rows.rejects.append(rejection | {"row": raw})


def _check_enough(source_rows: SourceRows, place: str, key: str, max_reject_share: float) -> None:
    rejected = source_rows.rejected.total()
    total = len(source_rows.rows) + rejected
    if rejected > max_reject_share * total:
        reasons = tally.common_reasons(source_rows.rejected, source_rows.examples)
        raise DataError(
            f"{place}: {rejected} of {total} rows cannot be read: {reasons}; check {key}.format "
            f"and {key}.columns, or allow more with {key}.max_reject_share."
        )
