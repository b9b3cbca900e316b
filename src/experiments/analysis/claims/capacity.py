"""How many bits the training data of a run contain, against what its trained parameters hold.

The bits of a data set are those that the model needs to code it while it reads it once: the loss of
each step's batch before its update, summed over the trained tokens of the first epoch. Parameters
hold about two bits each (Z. Allen-Zhu and Y. Li, arXiv 2404.05405), which is the estimate that
"LoRA Without Regret" uses for adapters.
"""

import math
from collections.abc import Sequence

from experiments.records import Record

BITS_PER_PARAMETER = 2


def data_bits(record: Record) -> float | None:
    """Return the bits of the training tokens in the first epoch; None if no loss was logged."""
    losses = [float(p["loss"]) for p in record.curve if "loss" in p]
    tokens = (record.data.get("trained_tokens") or {}).get("train")
    rows = (record.data.get("rows") or {}).get("train")
    batch = record.plan.get("batch_size")
    if not losses or not tokens or not all(map(math.isfinite, losses)):
        return None
    if rows and batch:
        losses = losses[: math.ceil(rows / batch)]
    return math.fsum(losses) / len(losses) * float(tokens) / math.log(2)


def held_bits(record: Record) -> float | None:
    """Return the bits that the trained parameters hold; None if their number is not recorded."""
    parameters = record.adapter.get("trainable_parameters")
    return None if parameters is None else float(BITS_PER_PARAMETER * parameters)


def by_arm(runs: Sequence[Record]) -> dict[str, tuple[float, float]] | None:
    """Return the most bits of data that an arm read and what it holds; None if one is unknown."""
    found: dict[str, tuple[float, float]] = {}
    for run in runs:
        needed, capacity = data_bits(run), held_bits(run)
        if needed is None or capacity is None:
            return None
        name = arm_name(run)
        found[name] = max(found.get(name, (0.0, capacity)), (needed, capacity))
    return found


def arm_name(run: Record) -> str:
    """Return `full fine-tuning`, `rank 4`, or the adapter's label."""
    lora = run.config.get("lora") or {}
    if lora.get("method") == "none":
        return "full fine-tuning"
    return f"rank {lora['r']}" if lora.get("r") is not None else str(lora.get("label", "adapter"))


def listing(found: dict[str, tuple[float, float]]) -> str:
    """Return the bits of each arm in words."""
    return ", ".join(
        f"{name} reads {data / 1000:.3g} kbit and holds {held / 1000:.3g}"
        for name, (data, held) in found.items()
    )
