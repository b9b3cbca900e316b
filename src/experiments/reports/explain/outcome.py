"""Compare two runs' scores with paired differences, and find where their curves diverge."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.analysis import statistics
from experiments.analysis.statistics import Interval
from experiments.evaluation import metrics
from experiments.reports.scores import COLUMNS, Kind, Run, direction
from experiments.reports.tables import verdict

CURVES = {"loss": "training loss", "validation_nll": "validation NLL"}


@dataclass(frozen=True)
class Score:
    """One score in both runs."""

    key: str
    a: float
    b: float
    difference: Interval
    """b - a, paired by test row; without an interval if the rows differ or are not available."""
    mcnemar_p: float | None
    """McNemar's exact p-value, if every row is scored as right or wrong."""
    changed: int | None
    """Number of rows whose score differs; None without rows."""

    @property
    def same(self) -> bool:
        """Whether both runs agree, row by row if the rows are available."""
        return self.a == self.b and not self.changed

    @property
    def verdict(self) -> str:
        """The verdict on b; `higher` or `lower` for scores without a direction, such as lengths."""
        words = verdict(self.difference, self.key)
        if metrics.direction(self.key) is None and words in ("better", "worse"):
            return "higher" if self.difference.estimate > 0 else "lower"
        return words


@dataclass(frozen=True)
class Curve:
    """One learning curve in both runs."""

    name: str
    last_a: tuple[int, float] | None
    """Step and value of the last point; None if there is no point."""
    last_b: tuple[int, float] | None
    parts_at: int | None
    """The first common step at which the values differ; None if there is none."""
    common: int
    """Number of steps that both curves have."""


def scores(a: Run, b: Run, kinds: tuple[Kind, Kind]) -> list[Score]:
    """Return the scores that both runs have, main ones first, without those by category."""
    one, other = (run.record.scores.get(kind, {}) for run, kind in zip((a, b), kinds, strict=True))
    shared = [key for key in one if key in other and key.rpartition("/")[0] not in one]
    order = [key for key in COLUMNS if key in shared]
    order += sorted(key for key in shared if key not in COLUMNS)
    return [_score(a, b, kinds, key) for key in order]


def _score(a: Run, b: Run, kinds: tuple[Kind, Kind], key: str) -> Score:
    one, other = a.rows_of(kinds[0], key), b.rows_of(kinds[1], key)
    x, y = a.record.scores[kinds[0]][key], b.record.scores[kinds[1]][key]
    if not one or one.keys() != other.keys():
        return Score(key, x, y, Interval(y - x, None, None, 0, "items", "none"), None, None)
    pairs = [(value, other[row]) for row, value in one.items()]
    difference = statistics.paired_difference(
        [value for value, _ in pairs], [value for _, value in pairs], over="items"
    )
    changed = sum(first != second for first, second in pairs)
    return Score(key, x, y, difference, _mcnemar(pairs, key), changed)


def _mcnemar(pairs: Sequence[tuple[float, float]], key: str) -> float | None:
    if not all(value in (0.0, 1.0) for pair in pairs for value in pair):
        return None
    right = 0.0 if direction(key) == "minimize" else 1.0
    only_a = sum(a == right != b for a, b in pairs)
    only_b = sum(b == right != a for a, b in pairs)
    return statistics.mcnemar_exact(only_a, only_b)


def curves(a: Sequence[dict[str, float]], b: Sequence[dict[str, float]]) -> list[Curve]:
    """Return the curves that at least one of the runs has."""
    found = []
    for key, name in CURVES.items():
        one, other = _points(a, key), _points(b, key)
        if one or other:
            common = sorted(one.keys() & other.keys())
            apart = next((step for step in common if one[step] != other[step]), None)
            found.append(Curve(name, _last(one), _last(other), apart, len(common)))
    return found


def _points(curve: Sequence[dict[str, float]], key: str) -> dict[int, float]:
    return {int(p["step"]): p[key] for p in curve if p.get(key) is not None and "step" in p}


def _last(points: dict[int, float]) -> tuple[int, float] | None:
    return max(points.items()) if points else None
