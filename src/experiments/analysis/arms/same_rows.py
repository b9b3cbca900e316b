"""Check that records were scored on the same rows, a precondition of any comparison."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.analysis.arms.reasons import Reason
from experiments.config.loading import without_nulls
from experiments.records import Record

# Keys of `data` that change the training data or how a row is rendered, not which rows are scored.
_TRAINING_ONLY_KEYS = (
    *("cache", "train_rows", "train_seed", "fraction", "total", "weight_by", "weight", "thinking"),
    *("system_prompt", "unified_system_prompt", "tools_form", "tools_shown", "distractors"),
)
_HELD_OUT_TEXT = "forgetting"


def other_rows(records: Sequence[Record], score: str) -> Reason | None:
    """Return why a score was computed on different rows, or None if the rows are the same.

    Records list the scored rows (`data.evaluation_rows`). Older records do not: their rows count as
    the same if their data have the same fingerprint or the same description.

    Args:
        records: records of the arms to be compared.
        score: such as `calls/exact`, which is of the test split, or `validation/loss/nll`.
    """
    if score.startswith(_HELD_OUT_TEXT):
        return None
    evaluation_rows = [record.data.get("evaluation_rows") for record in records]
    recorded = [rows for rows in evaluation_rows if rows is not None]
    if len(recorded) < len(records):
        return _by_description(records)
    split = _split_of(score, recorded)
    distinct = {_dump(rows.get(split)): rows.get(split) for rows in recorded}
    if len(distinct) <= 1:
        return None
    listing = "; ".join(sorted(_rows_text(rows) for rows in distinct.values()))
    return Reason(
        "other_rows",
        f"the rows of the {split} split differ ({listing}): use the same data files, data.seed, "
        "held-out sizes and eval.limit in all arms",
    )


def _split_of(score: str, recorded: Sequence[Mapping[str, Any]]) -> str:
    first = score.partition("/")[0]
    return first if any(first in rows for rows in recorded) or first == "validation" else "test"


def _rows_text(rows: Mapping[str, Any] | None) -> str:
    return "none" if rows is None else f"{rows['rows']} rows with hash {rows['sha256'][:8]}"


def _by_description(records: Sequence[Record]) -> Reason | None:
    fingerprints = {_dump(record.identity.get("data_fingerprint")) for record in records}
    if len(fingerprints) <= 1 or len({_dump(_row_selection(record)) for record in records}) <= 1:
        return None
    return Reason(
        "other_rows",
        "records of an earlier version do not list the evaluated rows, and their data configs "
        "differ: repeat these runs to compare them",
    )


def _row_selection(record: Record) -> Any:
    """Return the config keys that select evaluation rows, and the files the rows come from."""
    evaluation = record.config.get("eval") or {}
    data = record.config.get("data") or {}
    selection = {key: evaluation.get(key) for key in ("splits", "benchmarks", "limit")}
    return without_nulls(_selecting_keys(data)), selection, record.data.get("files")


def _selecting_keys(data: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_parts(data))


def _parts(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if key in ("sources", "test_sources"):
            yield key, {name: _selecting_keys(source) for name, source in (value or {}).items()}
            if key == "sources":  # sources of weight 0 were left out together with their test rows
                yield (
                    "named",
                    [name for name, source in (value or {}).items() if source.get("weight")],
                )
        elif key not in _TRAINING_ONLY_KEYS:
            yield key, value


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
