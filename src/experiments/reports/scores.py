"""Read the scores of a record with their intervals over test rows, and the names of scores."""

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from experiments.analysis import statistics
from experiments.analysis.arms import row_values
from experiments.analysis.statistics import Bounds, Direction, Interval
from experiments.config.loading import EXECUTION_KEYS
from experiments.evaluation import metrics
from experiments.records import Record, archive

Kind = Literal["base", "tuned"]

COLUMNS = {
    "calls/exact": "calls exact",
    "calls/exact_tolerant": "exact, tolerant parse",
    "unseen_values/calls/exact": "exact, unseen values",
    "unseen_tools/calls/exact": "exact, unseen tools",
    "plan_graph/success": "plan graph",
    "plan_graph/tool_recall": "tool recall",
    "restraint/correct": "restraint",
    "json_output/valid": "JSON valid",
    "json_output/values": "JSON values",
    "final_number/exact": "final number",
    "calls/malformed": "malformed",
    "generation/stopped": "stopped",
    "generation/cut_off": "cut off",
    "loss/nll": "NLL per token",
    "loss/bits_per_byte": "bits per byte",
    "validation/loss/nll": "validation NLL",
    "forgetting/nll": "held-out text NLL",
    "forgetting/increase": "forgetting (nats)",
}


# Scores shown for a benchmark: its main score first, then details of the answers.
BENCHMARKS = ("bfcl_", "nestful_", "when2call_", "seal_tools_", "toolworld")
BENCHMARK_SCORES = (
    *("bfcl_ast/valid", "bfcl_ast/malformed", "plan_graph/success", "calls/exact"),
    *("calls/exact_tolerant", "restraint/correct", "json_output/valid"),
)
CATEGORY_SCORES = ("calls/exact", "restraint/correct", "json_output/valid")


@dataclass
class Run:
    """A record with its scores per item, which are read on first access."""

    record: Record

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.record.config.get("seed") or 0)

    @property
    def finished(self) -> bool:
        """Whether the run is finished and so counts."""
        return self.record.status == "finished"

    @cached_property
    def overrides(self) -> dict[str, str]:
        """The overrides that describe the run, without seed and execution keys."""
        pairs = (text.lstrip("+").partition("=")[::2] for text in self.record.overrides)
        hidden = ("seed", "sweeps", *EXECUTION_KEYS)
        return {k: v for k, v in pairs if not any(k == h or k.startswith(f"{h}.") for h in hidden)}

    @cached_property
    def arm_key(self) -> str:
        """The canonical config without the seed."""
        return dump({k: v for k, v in self.record.config.items() if k != "seed"})

    @cached_property
    def categories(self) -> dict[str, str]:
        """Category by row id, for the test split."""
        return {str(i["id"]): i["category"] for i in self._test_items() if i.get("category")}

    @cached_property
    def per_item(self) -> dict[tuple[str, str], dict[str, float]]:
        """Values by row id for each (model, score key); `loss/nll` by `ratio_values`."""
        return row_values.by_score(self.record)

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        return archive.items(self.record)

    def _test_items(self) -> Iterator[dict[str, Any]]:
        return (item for item in self._items if item["split"] == "test")

    def score(self, kind: Kind, key: str) -> float | None:
        """Return one score of the base or tuned model, or None if it was not measured."""
        return self.record.scores.get(kind, {}).get(key)

    def rows_of(self, kind: Kind, key: str) -> dict[str, float]:
        """Return the values behind a score by row id; empty if they are not available."""
        values, score = self.per_item.get((kind, key), {}), self.score(kind, key)
        if not values or score is None:
            return {}
        # Tolerance of 1e-6: unless the rows belong elsewhere, both means differ by rounding only.
        close = math.isclose(mean(values.values()), score, rel_tol=1e-6, abs_tol=1e-9)
        return values if close else {}

    def over_items(self, kind: Kind, key: str) -> Interval | None:
        """Return a score with its interval over test rows; without rows there is no interval."""
        value = self.score(kind, key)
        if value is None:
            return None
        if values := list(self.rows_of(kind, key).values()):
            return statistics.items_interval(values, bounds=bounds(key))
        n = self.record.counts.get(kind, {}).get(key, 0)
        return Interval(value, None, None, n, "items", "none")

    def gain(self, key: str) -> Interval | None:
        """Return tuned - base in one score, paired by test row if the rows are available."""
        base, tuned = self.score("base", key), self.score("tuned", key)
        if base is None or tuned is None:
            return None
        a, b = self.rows_of("base", key), self.rows_of("tuned", key)
        if not a or a.keys() != b.keys():
            return Interval(tuned - base, None, None, 0, "items", "none")
        return statistics.paired_difference(list(a.values()), [b[row] for row in a], over="items")


def by_category(run: Run) -> dict[tuple[str, str], dict[str, Interval]]:
    """Return intervals over a category's test rows, by (category, score) and then by model."""
    found: dict[tuple[str, str], dict[str, Interval]] = {}
    for key in CATEGORY_SCORES:
        for kind in ("base", "tuned"):
            groups: dict[str, list[float]] = {}
            for row, value in run.per_item.get((kind, key), {}).items():
                if row in run.categories:
                    groups.setdefault(run.categories[row], []).append(value)
            for category in sorted(groups):
                interval = statistics.items_interval(groups[category], bounds=(0, 1))
                found.setdefault((category, key), {})[kind] = interval
    return found


def benchmark_scores(run: Run) -> list[str]:
    """Return the score keys of the named benchmarks that a run was scored on, in order."""
    there = {key for scores in run.record.scores.values() for key in scores}
    splits = {key.split("/")[0] for key in there if key.startswith(BENCHMARKS)}
    wanted = [f"{split}/{name}" for split in sorted(splits) for name in BENCHMARK_SCORES]
    return [key for key in wanted if key in there]


def bounds(key: str) -> Bounds | None:
    """Return the range of a score: main scores that are shares are between 0 and 1."""
    loss = "loss/" in key or key.startswith("forgetting/")
    share = key in COLUMNS or key.endswith(BENCHMARK_SCORES)
    return (0.0, 1.0) if share and not loss else None


def direction(key: str) -> Direction:
    """Return whether a score is maximized or minimized; unknown ones are maximized."""
    return "minimize" if metrics.direction(key) == "minimize" else "maximize"


def mean(values: Collection[float]) -> float:
    """Return the mean, summed without intermediate rounding."""
    return math.fsum(values) / len(values)


def dump(value: Any) -> str:
    """Return a text that is the same for equal trees."""
    return json.dumps(value, sort_keys=True, default=str)
