"""How the answers end: by the model itself, or cut off at `eval.max_new_tokens`.

Example: 3 of 4 answers end with the end-of-turn token: stopped is 0.75 and cut_off 0.25. A cut-off
answer is scored as it is, so read the other scores together with this one.
"""

from experiments.evaluation.metric_files import Item

DIRECTION = {"stopped": "maximize", "cut_off": "minimize", "new_tokens": "minimize"}


def score(item: Item) -> dict[str, float]:
    """Return `stopped`, `cut_off` (each 0 or 1) and `new_tokens` for every item."""
    stopped = float(item.stopped)
    return {"stopped": stopped, "cut_off": 1 - stopped, "new_tokens": float(item.new_tokens)}
