"""The undocumented names of TRL's SFTTrainer that this project uses; no other module uses one.

`tests/contracts/test_private_apis.py` has a test for each name, which fails when the name is gone.
"""

from typing import Any


def balances_experts(trainer: Any) -> bool:
    """Return whether the loss includes the load-balancing loss of a model with experts."""
    return bool(trainer.aux_loss_enabled)


def balancing_weight(trainer: Any) -> float:
    """Return the weight of the load-balancing loss."""
    return float(trainer.router_aux_loss_coef)
