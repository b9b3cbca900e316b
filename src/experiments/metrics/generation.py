"""How the answers end: by the model itself, or cut off at `eval.max_new_tokens`.

Example: 3 of 4 answers end with the end-of-turn token: stopped 0.75. A cut-off answer is scored
as it stands, so read the other scores together with this one.
"""

from experiments.metrics import Item

DIRECTION = {"stopped": "maximize", "new_tokens": "minimize"}


def score(item: Item) -> dict[str, float]:
    """Return `stopped` (0 or 1) and `new_tokens` for every item."""
    return {"stopped": float(item.stopped), "new_tokens": float(item.new_tokens)}
