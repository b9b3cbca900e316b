"""Forgetting: the loss on text that is unrelated to the task.

Example: the base has 2.10 nats per token on the held-out text and the tuned model 2.35: `increase`
is 0.25. "LoRA Learns Less and Forgets Less" (arXiv 2405.09673) measures forgetting next to learning
in the same way, on tasks of the source domain. The text is `eval.held_out_text`, or for an embedded
base documents of its pretraining distribution that it was not trained on.

`nll` and `bits_per_byte` are as in `loss`, over all tokens of the text. The metric is computed from
tokens, not from answers, so `score` adds nothing to an item.
"""

from experiments.evaluation.metric_files import Item

DIRECTION = {"nll": "minimize", "bits_per_byte": "minimize", "increase": "minimize"}


def score(item: Item) -> dict[str, float]:
    """Return nothing: `evaluation.held_out` measures this metric."""
    return {}
