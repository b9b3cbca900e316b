"""The private name of accelerate that this project uses; no other module uses it.

accelerate wraps the forward pass of a model in autocast and stores the original one in the model.
Its public `unwrap_model` removes the wrapper for good; validation during training removes it for a
while.
"""

from typing import Any

ORIGINAL_FORWARD = "_original_forward"


def original_forward(model: Any) -> Any:
    """Return the forward pass that accelerate wrapped, or None if it wrapped none."""
    return vars(model).get(ORIGINAL_FORWARD)


def forget_original_forward(model: Any) -> None:
    """Remove the stored forward pass from a model that is no longer trained."""
    vars(model).pop(ORIGINAL_FORWARD, None)
