"""JSON answers: validity under the row's schema, and the share of right values.

Example: schema {name: string, age: integer}, gold {"name": "Ada", "age": 36}; the answer {"name":
"Ada", "age": 63} is valid (1) with values 0.5. Validity is that of JSON Schema, checked by the
`jsonschema` library (draft 2020-12). If the schema itself is invalid, no answer is valid and the
item is marked `broken schema`.
"""

from typing import Any

from experiments.evaluation.metric_files import Item
from experiments.toolcalls import schemas
from experiments.toolcalls.parser import load_json, same_value

DIRECTION = {"valid": "maximize", "values": "maximize", "exact": "maximize"}


def score(item: Item) -> dict[str, float]:
    """Return `valid`, `values` and `exact` for rows that have a schema."""
    if "schema" not in item.row:
        return {}
    gold = _leaves(load_json(item.row["messages"][-1]["content"]))
    answer = load_json(item.answer.content) if not item.answer.calls else None
    valid = answer is not None and schemas.is_valid(item.row["schema"], answer)
    answer_leaves = _leaves(answer)
    matched = sum(
        path in answer_leaves and same_value(answer_leaves[path], value)
        for path, value in gold.items()
    )
    exact = valid and matched == len(gold) and answer_leaves.keys() == gold.keys()
    return {"valid": float(valid), "values": matched / max(1, len(gold)), "exact": float(exact)}


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """Map the path of each leaf of a JSON value to its scalar.

    An empty object or list is a leaf.
    """
    if isinstance(value, dict) and value:
        parts = [_leaves(v, (*path, k)) for k, v in value.items()]
    elif isinstance(value, list) and value:
        parts = [_leaves(v, (*path, i)) for i, v in enumerate(value)]
    else:
        return {path: value}
    return {k: v for part in parts for k, v in part.items()}
