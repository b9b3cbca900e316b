"""The undocumented names of TRL's SFTTrainer that this project uses; no other module uses one.

`tests/contracts/test_private_apis.py` has a test for each name, which fails when the name is gone.
"""

import contextlib
from collections.abc import Iterator
from typing import Any


def balances_experts(trainer: Any) -> bool:
    """Return whether the loss includes the load-balancing loss of a model with experts."""
    return bool(trainer.aux_loss_enabled)


@contextlib.contextmanager
def adapter_on_head_allowed(model: Any) -> Iterator[None]:
    """Let the trainer accept a model with an adapter on its output head, inside the block.

    The trainer refuses one, because its own losses read the head's weight without the adapter; the
    loss of this project does not. The trainer asks the model for its head; PEFT's wrapper passes
    the question on, so that an answer set on the wrapper hides the adapter from the trainer alone.
    """
    head = model.get_output_embeddings()
    if not hasattr(head, "lora_A"):
        yield
        return
    model.get_output_embeddings = lambda: head.base_layer
    try:
        yield
    finally:
        del model.get_output_embeddings


def balancing_weight(trainer: Any) -> float:
    """Return the weight of the load-balancing loss."""
    return float(trainer.router_aux_loss_coef)
