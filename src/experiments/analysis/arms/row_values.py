"""Read the scores of a run by test row, and the differences of two arms by seed and row."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.arms.grouping import ArmRun
from experiments.records import Record, archive

ByRow = dict[str, float]
"""Value by row id; the mean over the rows is the score."""
RowTable = dict[str, list[float]]
"""Differences by row id, one per seed; the mean over rows and seeds is that of the scores."""


def by_score(record: Record, step: int | None = None) -> dict[tuple[str, str], ByRow]:
    """Return values by row for each (model, score key); losses by `statistics.ratio_values`.

    Args:
        record: a finished run.
        step: a step of `eval.test_steps`, of which only the losses are known; None = final scores.
    """
    found: dict[tuple[str, str], ByRow] = {}
    parts: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for item in archive.items(record):
        prefix = "" if item["split"] in ("test", "held_out_text") else f"{item['split']}/"
        model, row = item["model"], str(item["id"])
        for key, value in item["scores"].items() if step is None else ():
            found.setdefault((model, prefix + key), {})[row] = float(value)
        for key, (total, weight) in _parts(item, step).items():
            pair = (float(total), float(weight))
            parts.setdefault((model, prefix + key), {})[row] = pair
    for at, pairs in parts.items():
        values = statistics.ratio_values(*zip(*pairs.values(), strict=True))
        found[at] = dict(zip(pairs, values, strict=True))
    return found


def differences(
    arm: Mapping[int, ArmRun], reference: Mapping[int, ArmRun], seeds: Sequence[int], score: str
) -> RowTable | None:
    """Return arm minus reference by row and seed; None without the same rows in every run.

    Args:
        arm: the runs of the arm by seed.
        reference: those of the reference.
        seeds: the seeds that both have.
        score: of the tuned model, such as `loss/nll`.
    """
    pairs = [(_rows(arm[seed], score), _rows(reference[seed], score)) for seed in seeds]
    first = next(iter(pairs), ({}, {}))[0]
    if not first or any(rows.keys() != first.keys() for pair in pairs for rows in pair):
        return None
    return {row: [a[row] - b[row] for a, b in pairs] for row in first}


def _rows(run: ArmRun, score: str) -> ByRow:
    """Return the values by row; empty if they are not available or belong to another score."""
    values, mean = by_score(run.record, run.step).get(("tuned", score), {}), run.scores.get(score)
    if not values or mean is None:
        return {}
    # Tolerance of 1e-6: unless the rows belong elsewhere, both means differ by rounding only.
    close = math.isclose(math.fsum(values.values()) / len(values), mean, rel_tol=1e-6, abs_tol=1e-9)
    return values if close else {}


def _parts(item: dict[str, Any], step: int | None) -> dict[str, tuple[float, float]]:
    """Return (sum, weight) of each loss of an item; version 1 of the items only had the NLL."""
    if step is not None:
        at_step: dict[str, tuple[float, float]] = item.get("step_parts", {}).get(str(step), {})
        return at_step
    if "parts" in item:
        found: dict[str, tuple[float, float]] = item["parts"]
        return found
    has_nll = bool(item.get("trained_tokens"))
    return {"loss/nll": (item["nll"], item["trained_tokens"])} if has_nll else {}
