"""Draw a mixture from weighted sources by seed, and report the shares drawn.

A weight is a share of the mixture in the unit `weight_by`: with weights 3 and 1, three of four rows
come from the first source if the unit is rows, and three of four tokens if it is tokens. Rows of
some sources are ten times as long as others', so these are different experiments.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from experiments.data import identity
from experiments.errors import DataError, did_you_mean

Row = dict[str, Any]
Unit = Literal["rows", "tokens", "trained_tokens"]
Lengths = Callable[[Sequence[Row]], Sequence[int]]
"""Function that returns the length of each row in the unit of the weights."""
Pick = tuple[int, int]
"""The index of a drawn row in its source, and how often it was drawn before."""


@dataclass(frozen=True)
class Share:
    """The contribution of one source."""

    rows_available: int
    """Rows left after removing near-duplicates of earlier sources."""
    rows_drawn: int
    epochs: float
    """rows_drawn / rows_available: 0.4 is a random 40 %, 2.4 is every row twice plus a random 40
    %."""
    units_drawn: int
    """Amount drawn in the unit of the weights."""
    share_asked: float
    share_drawn: float
    """Share of the mixture in the unit of the weights, 0 to 1."""


@dataclass(frozen=True)
class Mixture:
    """A drawn mixture."""

    rows: list[Row]
    """Rows in training order; a row drawn twice is listed twice."""
    weight_by: Unit
    seed: int
    shares: dict[str, Share]
    duplicates: dict[str, int]
    """Number of rows by 'removed from <source>, kept in <earlier source>'."""
    fingerprint: str
    """sha256 over the contents of the rows, in order."""

    def record(self) -> dict[str, Any]:
        """Return everything except the rows, as JSON values."""
        shares = {name: asdict(share) for name, share in self.shares.items()}
        return {
            "weight_by": self.weight_by,
            "seed": self.seed,
            "rows": len(self.rows),
            "shares": shares,
            "duplicates": self.duplicates,
            "fingerprint": self.fingerprint,
        }


def draw(
    sources: Mapping[str, Sequence[Row]],
    weights: Mapping[str, float],
    *,
    seed: int,
    total: int | None = None,
    weight_by: Unit = "rows",
    lengths: Lengths | None = None,
) -> Mixture:
    """Draw a mixture.

    Near-duplicates of earlier sources (see `identity.near_key`) are removed first; a source with
    weight 0 takes no part in this or in the draw. Each source then contributes its share of
    `total`: a random part of its rows, or every row as often as it fits plus a random part. The
    result depends on the ids and contents of the rows, not on their order or on the order of the
    weights; the order of the sources only decides which of two duplicates is kept.

    Args:
        sources: canonical rows by source name.
        weights: weight of each source; they need not sum to 1.
        seed: determines every draw.
        total: size of the mixture in the unit of the weights. None means the largest size without
            repeated rows, so that one source is used up and the others contribute a part.
        weight_by: the unit of the weights.
        lengths: returns row lengths, for `tokens` and `trained_tokens`.

    Raises:
        DataError: weights are missing, unknown, negative, not finite, zero in sum or set for an
            empty source; or the total is too small for one row of each source.
    """
    if weight_by not in get_args(Unit):
        raise DataError(f"weight_by={weight_by}: {did_you_mean(weight_by, get_args(Unit))}")
    shares_wanted = _shares(sources, weights)
    deduplicated, duplicates = without_duplicates({name: sources[name] for name in shares_wanted})
    sizes = {name: _sizes(name, rows, weight_by, lengths) for name, rows in deduplicated.items()}
    goals = _goals(shares_wanted, {name: sum(members) for name, members in sizes.items()}, total)
    if weight_by == "rows":
        goals = _rounded_goals(goals)
    picks = {
        name: _pick_rows(rows, sizes[name], goals[name], (seed, name))
        for name, rows in deduplicated.items()
    }
    _refuse_empty(picks, total, weight_by)
    shares = _drawn_shares(shares_wanted, deduplicated, sizes, picks)
    ordered_rows = _ordered(deduplicated, picks, seed)
    fingerprint = identity.fingerprint(_digests(ordered_rows))
    return Mixture(ordered_rows, weight_by, seed, shares, duplicates, fingerprint)


def without_duplicates(
    sources: Mapping[str, Sequence[Row]],
) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """Remove rows whose near-duplicate key occurs in an earlier source; count them per source pair.

    Duplicates within one source are kept: a data set may repeat a question on purpose.
    """
    owners: dict[str, str] = {}
    kept_rows: dict[str, list[Row]] = {}
    counts: Counter[str] = Counter()
    for name, rows in sources.items():
        kept_rows[name] = []
        for row in rows:
            key = identity.near_key(row)
            owner = owners.setdefault(key, name) if key else name
            if owner == name:
                kept_rows[name].append(row)
            else:
                counts[f"removed from {name}, kept in {owner}"] += 1
    return kept_rows, dict(counts)


def without_held_back(
    train: Mapping[str, Sequence[Row]], held_back: Mapping[str, Sequence[Row]]
) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """Remove and count training rows that have a near-duplicate held back from another source.

    Duplicates within one source are handled by its split. Held-back rows do not depend on the
    weights, so they are kept and the training row is removed.
    """
    owners: dict[str, list[str]] = {}
    for name, rows in held_back.items():
        for key in {identity.near_key(row) for row in rows} - {None}:
            owners.setdefault(str(key), []).append(name)
    kept_rows: dict[str, list[Row]] = {}
    counts: Counter[str] = Counter()
    for name, rows in train.items():
        kept_rows[name] = []
        for row in rows:
            others = [
                owner for owner in owners.get(identity.near_key(row) or "", ()) if owner != name
            ]
            if not others:
                kept_rows[name].append(row)
            else:
                counts[f"removed from {name}, held out in {others[0]}"] += 1
    return kept_rows, dict(counts)


def subset(
    rows: Sequence[Row], *, fraction: float | None = None, limit: int | None = None, seed: int
) -> list[Row]:
    """Return a random subset of rows in their order; smaller subsets are nested in larger ones.

    Args:
        rows: canonical rows.
        fraction: fraction to keep, above 0 and at most 1.
        limit: maximum number of rows, at least 1; with `fraction`, the smaller size applies.
        seed: seed of the draw; subsets are nested for one seed.

    Raises:
        DataError: a value is out of range, or the fraction amounts to no row.
    """
    if fraction is not None and not 0 < fraction <= 1:
        raise DataError(f"data.fraction={fraction}: it must be above 0 and at most 1.")
    if limit is not None and limit < 1:
        raise DataError(f"data.limit={limit}: it must be at least 1, or null for all rows.")
    size = len(rows) if fraction is None else round(fraction * len(rows))
    if rows and not size:
        raise DataError(f"data.fraction={fraction} of {len(rows)} rows leaves no row: raise it.")
    size = min(size, limit or size)
    if size == len(rows):
        return list(rows)
    return [rows[i] for i in sorted(identity.ranked(rows, seed, "subset")[:size])]


def _shares(sources: Mapping[str, Sequence[Row]], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each source with a positive weight, in the order of the sources."""
    for name, weight in weights.items():
        if name not in sources:
            raise DataError(f"weight of unknown source '{name}': {did_you_mean(name, sources)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise DataError(f"weight of {name} is {weight}: it must be a number of at least 0.")
        if weight and not sources[name]:
            raise DataError(f"source {name} has weight {weight} but no rows: remove it.")
    missing = [name for name in sources if name not in weights]
    if missing:
        raise DataError(f"no weight for {', '.join(missing)}: set one for each source, 0 for none.")
    # fsum is exact, so the order of the weights cannot change the last digit.
    weight_sum = math.fsum(weights.values())
    if not weight_sum:
        raise DataError(
            "the weights of the mixture sum to 0: give at least one source a weight above 0."
        )
    return {name: weights[name] / weight_sum for name in sources if weights[name]}


def _sizes(name: str, rows: Sequence[Row], unit: Unit, lengths: Lengths | None) -> list[int]:
    if not rows:
        raise DataError(
            f"source {name}: all its rows are near-duplicates of rows in earlier sources; remove "
            "it, or set its weight to 0."
        )
    if unit == "rows":
        return [1] * len(rows)
    if lengths is None:
        raise DataError(f"weight_by={unit} needs a tokenizer: set a model, or use weight_by=rows.")
    sizes = [int(size) for size in lengths(rows)]
    if len(sizes) != len(rows) or min(sizes) < 0:
        raise ValueError("lengths must return a number of 0 or more for each row")
    if not sum(sizes):
        raise DataError(f"source {name}: its rows contain no {unit.replace('_', ' ')}; remove it.")
    return sizes


def _goals(
    shares_wanted: dict[str, float], available: dict[str, int], total: int | None
) -> dict[str, float]:
    """Return the number of units that each source contributes."""
    if total is not None:
        if total < 1:
            raise DataError(f"the size of the mixture is {total}: it must be at least 1.")
        return {name: total * share for name, share in shares_wanted.items()}
    limiting = min(shares_wanted, key=lambda name: available[name] / shares_wanted[name])
    scale = available[limiting] / shares_wanted[limiting]
    goals = {name: min(scale * share, available[name]) for name, share in shares_wanted.items()}
    return goals | {limiting: available[limiting]}  # avoids the rounding of / and *


def _rounded_goals(goals: dict[str, float]) -> dict[str, float]:
    """Round to integers with the same sum; the largest remainders are rounded up."""
    floors = {name: math.floor(goal) for name, goal in goals.items()}
    units_left = round(math.fsum(goals.values())) - sum(floors.values())
    by_remainder = sorted(goals, key=lambda name: (floors[name] - goals[name], name))
    return {name: floors[name] + (name in by_remainder[:units_left]) for name in goals}


def _pick_rows(
    rows: Sequence[Row], sizes: Sequence[int], goal: float, salt: tuple[object, ...]
) -> list[Pick]:
    """Return (index, pass) of random rows whose sizes sum to the goal as closely as possible."""
    passes = int(goal // sum(sizes))
    picks = [(index, pass_index) for pass_index in range(passes) for index in range(len(rows))]
    units_left = goal - passes * sum(sizes)
    for index in identity.ranked(rows, *salt, passes):
        # Stop where adding this row would move the sum further away.
        if units_left < sizes[index] / 2 or units_left <= 0:
            break
        picks.append((index, passes))
        units_left -= sizes[index]
    return picks


def _refuse_empty(picks: Mapping[str, Sequence[Pick]], total: int | None, unit: Unit) -> None:
    for name, source_picks in picks.items():
        if not source_picks:
            raise DataError(
                f"source {name}: its share of {total} {unit} is less than one row; raise "
                "data.total or the source's weight."
            )


def _drawn_shares(
    shares_wanted: Mapping[str, float],
    deduplicated: Mapping[str, Sequence[Row]],
    sizes: Mapping[str, Sequence[int]],
    picks: Mapping[str, Sequence[Pick]],
) -> dict[str, Share]:
    units = {
        name: sum(sizes[name][i] for i, _ in source_picks) for name, source_picks in picks.items()
    }
    return {
        name: Share(
            rows_available=len(rows),
            rows_drawn=len(picks[name]),
            epochs=len(picks[name]) / len(rows),
            units_drawn=units[name],
            share_asked=shares_wanted[name],
            share_drawn=units[name] / sum(units.values()),
        )
        for name, rows in deduplicated.items()
    }


def _ordered(
    deduplicated: Mapping[str, Sequence[Row]], picks: Mapping[str, list[Pick]], seed: int
) -> list[Row]:
    """Return the picked rows in an order that depends on their ids, not on the source order."""
    drawn: list[Row] = [
        {
            "source": name,
            "id": [deduplicated[name][index].get("id"), pass_index],
            "row": deduplicated[name][index],
        }
        for name, source_picks in picks.items()
        for index, pass_index in source_picks
    ]
    return [drawn[index]["row"] for index in identity.ranked(drawn, seed, "order")]


def _digests(rows: Sequence[Row]) -> Iterator[str]:
    digests: dict[int, str] = {}  # keyed by identity, so that a row drawn twice is hashed once
    for row in rows:
        if id(row) not in digests:
            digests[id(row)] = identity.content(row)
        yield digests[id(row)]
