"""The scope of a verdict, what limits it without ruling it out, and what its runs must share."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis import statistics
from experiments.analysis.arms import Reason
from experiments.analysis.claims import capacity
from experiments.records import Record

_LEAST_STEPS = 8
_TINY_PARAMETERS = 100_000_000
"""Models with fewer parameters can show that an effect exists, not that the claim is true."""


def other_machines(runs: Sequence[Record]) -> Iterator[Reason]:
    """Yield a reason if the runs of one verdict were made on several machines."""
    machines = {
        (run.provenance.get("cpu"), run.provenance.get("device"))
        for run in runs
        if run.provenance.get("cpu") or run.provenance.get("device")
    }
    if len(machines) > 1:
        listing = "; ".join(sorted(" with ".join(map(str, pair)) for pair in machines))
        text = f"the runs were made on {len(machines)} machines ({listing}): repeat those of one"
        yield Reason("mixed_machine", text)


def still_falling(runs: Sequence[Record]) -> Iterator[str]:
    """Yield the arms whose training loss fell from the third to the last quarter of the steps."""
    drops: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        losses = [float(p["loss"]) for p in run.curve if "loss" in p]
        if len(losses) >= _LEAST_STEPS and all(map(math.isfinite, losses)):
            quarter = len(losses) // 4
            before, last = _mean(losses[-2 * quarter : -quarter]), _mean(losses[-quarter:])
            drops.setdefault(capacity.arm_name(run), []).append((before - last, before))
    for name, pairs in drops.items():
        interval = statistics.mean_interval([drop for drop, _ in pairs])
        if interval.low is not None and interval.low > 0:
            share = interval.estimate / _mean([before for _, before in pairs])
            yield (
                f"training loss of {name} still falls at the end (by {share:.0%} in the last "
                "quarter): about this length only"
            )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def scope(runs: Sequence[Record]) -> str:
    """Describe the scope of a verdict; a small model on a CPU shows a mechanism, not the claim."""
    if not runs:
        return ""
    first = runs[0]
    model = first.config.get("model") or {}
    tiny = int(first.model.get("parameters") or 0) < _TINY_PARAMETERS or bool(model.get("embedded"))
    batches = _distinct(runs, lambda r: (r.config.get("trainer") or {}).get("batch_size"))
    schedule = _distinct(runs, lambda r: (r.config.get("trainer") or {}).get("lr_scheduler_type"))
    parts = [
        *(["mechanism (tiny model)"] if tiny else []),
        _distinct(runs, lambda r: (r.config.get("model") or {}).get("label")),
        f"{_distinct(runs, lambda r: r.plan.get('steps'))} steps of {batches} rows",
        f"{schedule} learning rate",
        f"{first.identity.get('precision')} on {first.identity.get('device_class')}",
    ]
    return ", ".join(parts)


def _distinct(runs: Sequence[Record], read_value: Any) -> str:
    """Return the distinct values of the runs, numbers in ascending order, such as `8/32/80`."""
    values = list(dict.fromkeys(read_value(run) for run in runs))
    numbers = all(isinstance(value, int | float) for value in values)
    return "/".join(map(str, sorted(values) if numbers else values))
