"""LoRA+ (arXiv 2402.12354): train the matrix B with a multiple of A's learning rate.

`peft.optimizers.create_loraplus_optimizer` gives the adapters of linear layers the same learning
rates, but trains those of embeddings at 1e-6, and biases and normalisation weights at the rate of
B; it also replaces the trainer's optimizer. Here only the learning rate of B changes.
"""

from typing import Any

_B_NAMES = ("lora_B", "lora_embedding_B")


def scale_learning_rate_of_b(optimizer: Any, model: Any, ratio: float) -> None:
    """Split the parameter groups of a new optimiser by matrix, and scale the learning rate of B.

    Weight decay and all other settings stay unchanged. The groups of A come first, because the
    trainer logs the learning rate of the first group; a schedule scales both.
    """
    b_ids = {id(p) for name, p in model.named_parameters() if set(name.split(".")) & set(_B_NAMES)}
    groups = list(optimizer.param_groups)
    split = [_subgroup(group, b_ids, inside=False) for group in groups]
    for group in groups:
        split.append(_subgroup(group, b_ids, inside=True) | {"lr": group["lr"] * ratio})
    optimizer.param_groups[:] = [group for group in split if group["params"]]


def _subgroup(group: dict[str, Any], ids: set[int], *, inside: bool) -> dict[str, Any]:
    return group | {"params": [p for p in group["params"] if (id(p) in ids) == inside]}
