"""Preconditions of a claim's setting, checked on the runs.

Runs outside the setting of a claim say nothing about it. Each gate reports what it found; a
condition that the records do not show counts as failed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.analysis.claims import capacity
from experiments.records import Record

CLIPPED_SHARE = 0.01
"""Largest share of logged steps with a clipped gradient."""


@dataclass(frozen=True)
class Gate:
    """A precondition and whether the runs meet it."""

    name: str
    passed: bool
    text: str


def constant_rate(runs: Sequence[Record]) -> str | None:
    """The learning rate is constant, without warm-up."""
    values = {
        (_config_value(r, "trainer.lr_scheduler_type"), _config_value(r, "trainer.warmup_steps"))
        for r in runs
    }
    return (
        None
        if values <= {("constant", 0.0), ("constant", 0)}
        else f"(schedule, warm-up) is {_listing(values)}"
    )


def no_weight_decay(runs: Sequence[Record]) -> str | None:
    """Weight decay is 0."""
    values = {_config_value(r, "trainer.weight_decay") for r in runs}
    return None if values == {0} else f"weight decay is {_listing(values)}"


def no_dropout(runs: Sequence[Record]) -> str | None:
    """Dropout is 0; full fine-tuning has none."""
    values = {_config_value(r, "lora.lora_dropout") or 0 for r in runs}
    return None if values == {0} else f"dropout is {_listing(values)}"


def fp32_weights(runs: Sequence[Record]) -> str | None:
    """Trained weights are fp32: with bf16 weights small updates of full fine-tuning are lost."""
    values = {_trained_dtype(r) for r in runs}
    return None if values == {"float32"} else f"trained weights are {_listing(values)}"


def no_clipping(runs: Sequence[Record]) -> str | None:
    """At most a hundredth of the logged steps had their gradient clipped."""
    norms = [(float(p["grad_norm"]), r) for r in runs for p in r.curve if "grad_norm" in p]
    if not norms:
        return "no gradient norm was logged"
    clipped = sum(
        norm > float(_config_value(r, "trainer.max_grad_norm") or math.inf) for norm, r in norms
    )
    share = clipped / len(norms)
    return None if share <= CLIPPED_SHARE else f"{share:.0%} of the logged steps were clipped"


def zero_start(runs: Sequence[Record]) -> str | None:
    """LoRA starts as no change at all (B = 0)."""
    values = {
        _config_value(r, "lora.init_lora_weights")
        for r in runs
        if _config_value(r, "lora.method") == "lora"
    }
    return None if values <= {"default"} else f"initialisation is {_listing(values)}"


def alpha_32(runs: Sequence[Record]) -> str | None:
    """Alpha is 32 at every rank, as in "LoRA Without Regret"."""
    values = {
        _config_value(r, "lora.lora_alpha")
        for r in runs
        if _config_value(r, "lora.method") == "lora"
    }
    return None if values <= {32.0} else f"alpha is {_listing(values)}"


def same_steps(runs: Sequence[Record]) -> str | None:
    """All runs have the same number of steps of the same number of rows."""
    values = {(r.plan.get("steps"), r.plan.get("batch_size")) for r in runs}
    return None if len(values) == 1 else f"(steps, rows per step) is {_listing(values)}"


def same_parameters(runs: Sequence[Record]) -> str | None:
    """All runs train the same number of parameters."""
    values = {r.adapter.get("trainable_parameters") for r in runs}
    return (
        None
        if len(values) == 1 and None not in values
        else f"trained parameters are {_listing(values)}"
    )


def within_capacity(runs: Sequence[Record]) -> str | None:
    """The trained parameters, and the base, hold the training data at 2 bits per parameter."""
    found = capacity.by_arm(runs)
    if found is None:
        return "no loss of the first epoch, or no number of parameters, was recorded"
    small = {name: bits for name, bits in found.items() if bits[0] > bits[1]}
    if small:
        return f"the data are more than fits: {capacity.listing(small)}"
    bases = {int(r.model.get("parameters") or 0) for r in runs} - {0}
    most = max(data for data, _ in found.values())
    if bases and most > capacity.BITS_PER_PARAMETER * min(bases):
        text = f"the base of {min(bases):,} weights is too small for data of {most / 1000:.3g} kbit"
        return text
    return None


def beyond_capacity(runs: Sequence[Record]) -> str | None:
    """At least two ranks read more bits in the first epoch than their adapters hold."""
    adapters = [r for r in runs if _config_value(r, "lora.method") == "lora"]
    found = capacity.by_arm(adapters)
    if found is None:
        return "no loss of the first epoch, or no number of parameters, was recorded"
    if sum(data > held for data, held in found.values()) >= 2:
        return None
    every = all(data <= held for data, held in found.values())
    whose = "every rank holds the data" if every else "only one rank holds less than the data"
    return f"{whose} ({capacity.listing(found)})"


GATES: dict[str, Callable[[Sequence[Record]], str | None]] = {
    gate.__name__: gate
    for gate in (
        *(constant_rate, no_weight_decay, no_dropout, fp32_weights, no_clipping),
        *(zero_start, alpha_32, same_steps, same_parameters),
        *(within_capacity, beyond_capacity),
    )
}
"""Gate functions by name; each returns what is wrong, or None."""


UNTESTED_WITHOUT = ("beyond_capacity",)
"""Gates without which the claim's subject does not occur, so that it is not tested."""


def check(names: Sequence[str], runs: Sequence[Record]) -> list[Gate]:
    """Return the result of each gate for the runs that a verdict is based on."""
    results = []
    for name in names:
        problem = GATES[name](runs) if runs else "there are no runs to check"
        results.append(
            Gate(name, problem is None, problem or str(GATES[name].__doc__).splitlines()[0])
        )
    return results


def _trained_dtype(record: Record) -> str:
    """Return the dtype of the trained weights; older records only have the compute precision."""
    names = record.adapter.get("trained_dtype")
    if names is not None:
        return " and ".join(names)
    precision = record.identity.get("precision")
    return "float32" if precision == "fp32" else f"unknown (run in {precision})"


def _config_value(record: Record, key: str) -> Any:
    node: Any = record.config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _listing(values: set[Any]) -> str:
    return ", ".join(sorted(map(str, values)))
