"""Compute the scores of each metric from stored answers and their rows, without the model.

A run is scored right after its answers are generated, and again from its stored items if a metric
is added or changed later.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from experiments.evaluation import metrics, unanswered
from experiments.evaluation.metrics import Item
from experiments.toolcalls import parser, schemas
from experiments.toolcalls.parser import CallForm

ALWAYS = ("generation",)
"""Metrics that are always computed, whatever `eval.metrics` names."""


@dataclass
class SplitScores:
    """The scores of one model on one split."""

    means: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    defects: dict[str, int] = field(default_factory=dict)
    """Maps each kind of defect to the number of answers with it."""


def score(
    items: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    names: Sequence[str],
    form: CallForm,
) -> SplitScores:
    """Score the answers of one model to one split, and add each answer's scores to its item.

    Args:
        items: one per answer, with `split`, `category`, `text`, `stopped` and `new_tokens`.
        rows: the rows that the items answer, in the same order; a row without an answer has
            `unheld`.
        names: files of `evaluation/metrics/`.
        form: the format in which the model writes calls.

    Raises:
        ConfigError: there is no such metric.
    """
    modules = {name: metrics.load(name) for name in dict.fromkeys([*names, *ALWAYS])}
    values: dict[str, list[float]] = defaultdict(list)
    defects: Counter[str] = Counter()
    for item, row in zip(items, rows, strict=True):
        if "unheld" in row:
            item["scores"] = unanswered.failed(row, modules)
        else:
            item.update(_score_item(item, row, modules, form))
            defects.update(item["defects"])
        prefix = "" if item["split"] == "test" else f"{item['split']}/"
        for key, value in item["scores"].items():
            values[f"{prefix}{key}"].append(value)
            if item["category"]:
                values[f"{prefix}{key}/{item['category']}"].append(value)
    means = {key: sum(key_values) / len(key_values) for key, key_values in values.items()}
    return SplitScores(
        means, {key: len(key_values) for key, key_values in values.items()}, dict(defects)
    )


def _score_item(
    saved_item: Mapping[str, Any],
    row: dict[str, Any],
    modules: Mapping[str, ModuleType],
    form: CallForm,
) -> dict[str, Any]:
    parsed = parser.parse(saved_item["text"], form, parser.offered(row))
    item = Item(
        row, parsed, saved_item["stopped"], saved_item["new_tokens"], saved_item["text"], form
    )
    scores = {
        f"{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.score(item).items()
    }
    defects = [*dict.fromkeys([*parsed.defects, *item.tolerant.defects]), *_broken_schemas(item)]
    error_type = {"error_type": metrics.load("bfcl_ast").error_type(item)} if "bfcl" in row else {}
    return error_type | {"defects": defects, "scores": scores}


def _broken_schemas(item: Item) -> Iterator[str]:
    """Yield a defect if a schema of the row is invalid, so that no answer can be valid."""
    answer_schemas = [item.row["schema"]] if "schema" in item.row else []
    functions = [tool.get("function", tool) for tool in item.row.get("tools") or []]
    if any(
        schemas.problem(s)
        for s in [*answer_schemas, *(f.get("parameters") or {} for f in functions)]
    ):
        yield "broken schema"
