"""Compare two runs item by item: which items only one of them solves, with McNemar's p-value.

Two runs with the same mean can solve different items, and a difference over the same items
depends only on those that one of the runs solves. Items are joined by split and id. Items that
are in one run only are counted and listed, but not compared. The tuned model of a run is used, or
its base model if nothing was tuned.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import records
from experiments.analysis import statistics
from experiments.errors import RecordError
from experiments.records import Record, archive
from experiments.reports import answering, tables
from experiments.reports.scores import Kind, direction

_READING = (
    "An item counts as solved if its score is 1, or 0 where lower is better. Each p value is for "
    "one score and this pair of runs; it does not cover other seeds and is not adjusted for the "
    "number of scores."
)
NAMED = 10
"""Number of ids that are printed; `write` writes all of them."""
NOT_SOLVED = "generation/new_tokens"  # a length, even if it happens to be 0 or 1

Key = tuple[str, str]
"""(split, id)."""


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    path: Path
    record: Record
    kind: Kind
    items: dict[Key, dict[str, Any]]
    repeated: list[Key]
    """Items whose split and id occurred before; they are left out."""


@dataclass(frozen=True)
class Table:
    """Solved and unsolved items for one score, over the items that have it in both runs."""

    score: str
    both: list[Key]
    only_a: list[Key]
    only_b: list[Key]
    neither: list[Key]

    @property
    def n(self) -> int:
        """The number of items."""
        return len(self.both) + len(self.only_a) + len(self.only_b) + len(self.neither)

    @property
    def p(self) -> float:
        """McNemar's exact p-value."""
        return statistics.mcnemar_exact(len(self.only_a), len(self.only_b))


@dataclass(frozen=True)
class Join:
    """Two runs joined by item."""

    a: Side
    b: Side
    tables: list[Table]

    @property
    def shared(self) -> list[Key]:
        """The items that are in both runs, in the order of the first."""
        return [key for key in self.a.items if key in self.b.items]


def join(a: Path, b: Path) -> Join:
    """Join two runs by item.

    Args:
        a: a run's folder, or its record in a report folder (`outputs/reports/NAME/runs/ID.json`).
        b: as `a`.

    Raises:
        RecordError: a path is not exactly one run or has no items, or the two share no item.
    """
    one, other = _side(a), _side(b)
    joined = Join(one, other, [])
    if not joined.shared:
        raise RecordError(
            f"--items {a} {b}: the runs share no item (same split and id): name two runs that were "
            "scored on the same rows."
        )
    joined.tables.extend(_tables(joined))
    return joined


def describe(joined: Join, width: int) -> str:
    """Return the counts for each score and the ids that only one run solves, as plain text."""
    header = ["score", "n", "both", "only A", "only B", "neither", "McNemar's exact p"]
    rows = [
        [t.score, *map(str, (t.n, *map(len, (t.both, t.only_a, t.only_b, t.neither)))), _p(t.p)]
        for t in joined.tables
    ]
    parts = ["\n".join(_facts(joined))]
    if rows:
        parts.append(tables.aligned(tables.Grid(header, rows), width))
        parts.append(textwrap.fill(_READING, width))
    else:
        parts.append("The runs have no binary score (0 or 1) in common.")
    parts += ["\n".join(lines) for table in joined.tables if (lines := list(_only(table)))]
    return "\n\n".join(parts) + "\n"


def write(joined: Join, out: Path) -> int:
    """Write each item that only one run solves, with both texts, and return their number.

    Raises:
        RecordError: the file cannot be written.
    """
    rows = list(_rows(joined))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    records.write_atomically(out, lines.encode("utf-8", "replace"), advice="choose another --out")
    return len(rows)


def _side(path: Path) -> Side:
    record = archive.read_one(path, "--items")
    entries: list[Any] = archive.items(record)
    if not all(isinstance(entry, dict) for entry in entries):
        raise RecordError(f"--items {path}: an item is not a JSON object: evaluate the run again.")
    kind: Kind = "tuned" if any(entry.get("model") == "tuned" for entry in entries) else "base"
    items: dict[Key, dict[str, Any]] = {}
    repeated = []
    for entry in entries:
        if entry.get("model") != kind:
            continue
        key = (str(entry.get("split")), str(entry.get("id")))
        if key in items:
            repeated.append(key)
        else:
            items[key] = entry
    if not items:
        raise RecordError(
            f"--items {path} has a record ({record.status}) but no {records.ITEMS_NAME}, which is "
            "written when a run is scored: finish the run."
        )
    return Side(path, record, kind, items, repeated)


def _tables(joined: Join) -> Iterator[Table]:
    pairs: dict[str, list[tuple[Key, float, float]]] = {}
    for key in joined.shared:
        prefix = "" if key[0] == "test" else f"{key[0]}/"
        one, other = _scores(joined.a, key), _scores(joined.b, key)
        for name in one.keys() & other.keys() - {NOT_SOLVED}:
            pairs.setdefault(prefix + name, []).append((key, one[name], other[name]))
    for score in sorted(pairs, key=lambda name: (name.count("/"), name)):
        if all(value in (0, 1) for _, *values in pairs[score] for value in values):
            yield _table(score, pairs[score])


def _scores(side: Side, key: Key) -> dict[str, float]:
    return {name: float(value) for name, value in (side.items[key].get("scores") or {}).items()}


def _table(score: str, pairs: list[tuple[Key, float, float]]) -> Table:
    right = 0.0 if direction(score) == "minimize" else 1.0
    groups: dict[tuple[bool, bool], list[Key]] = {}
    for key, one, other in pairs:
        groups.setdefault((one == right, other == right), []).append(key)
    cells = ((True, True), (True, False), (False, True), (False, False))
    return Table(score, *(groups.get(cell, []) for cell in cells))


def _facts(joined: Join) -> Iterator[str]:
    for name, side in (("A", joined.a), ("B", joined.b)):
        status = "" if side.record.status == "finished" else f", {side.record.status}"
        words = " ".join(side.record.overrides)
        run = f"run {side.record.run_id}{status}" + (f"; {words}" if words else "")
        yield f"{name}: {side.kind} model of {side.path} ({run})"
        if how := answering.of_run(side.record, side.kind):
            yield f"{name}: {how}"
    yield f"{len(joined.shared):,} items are in both runs."
    for name, side, other in (("A", joined.a, joined.b), ("B", joined.b, joined.a)):
        alone = [key for key in side.items if key not in other.items]
        if alone:
            yield f"{len(alone):,} items are only in {name} and are not compared: {_ids(alone)}"
        if side.repeated:
            many = f"{len(side.repeated):,} items of {name} repeat the split and id of an earlier"
            yield f"{many} one and are left out: {_ids(side.repeated)}"
    prints = [side.record.identity.get("data_fingerprint") for side in (joined.a, joined.b)]
    if prints[0] != prints[1]:
        yield (
            f"The data of the runs differ (fingerprints {prints[0]} and {prints[1]}): make sure "
            "that ids refer to the same rows in both."
        )


def _only(table: Table) -> Iterator[str]:
    for name, keys in (("A", table.only_a), ("B", table.only_b)):
        if keys:
            yield f"{table.score}, solved only by {name}: {_ids(keys)}"


def _ids(keys: list[Key]) -> str:
    more = f" and {len(keys) - NAMED:,} more" if len(keys) > NAMED else ""
    names = [name if split == "test" else f"{split}/{name}" for split, name in keys[:NAMED]]
    return ", ".join(names) + more


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def _rows(joined: Join) -> Iterator[dict[str, Any]]:
    for table in joined.tables:
        for name, keys in (("A", table.only_a), ("B", table.only_b)):
            for key in keys:
                one, other = joined.a.items[key], joined.b.items[key]
                yield {
                    "score": table.score,
                    "split": key[0],
                    "id": key[1],
                    "category": one.get("category"),
                    "solved_by": name,
                    "text_a": one.get("text"),
                    "text_b": other.get("text"),
                }
