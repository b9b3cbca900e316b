"""LoRA+ (arXiv 2402.12354): the matrix B is trained at a multiple of A's learning rate."""

from typing import Any

_OF_B = ("lora_B", "lora_embedding_B")


def raise_rate_of_b(optimizer: Any, model: Any, ratio: float) -> None:
    """Split the groups of a new optimiser by matrix, and multiply the rate of B.

    Weight decay and all else stay as they were. The groups of A come first, because the trainer
    logs the rate of the first one; a schedule multiplies both.
    """
    of_b = {id(p) for name, p in model.named_parameters() if set(name.split(".")) & set(_OF_B)}
    groups = list(optimizer.param_groups)
    split = [_part(group, of_b, inside=False) for group in groups]
    for group in groups:
        split.append(_part(group, of_b, inside=True) | {"lr": group["lr"] * ratio})
    optimizer.param_groups[:] = [group for group in split if group["params"]]


def _part(group: dict[str, Any], ids: set[int], *, inside: bool) -> dict[str, Any]:
    return group | {"params": [p for p in group["params"] if (id(p) in ids) == inside]}
