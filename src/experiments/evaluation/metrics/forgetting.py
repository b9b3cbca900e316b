"""What training took away: the loss on text that has nothing to do with the task.

Example: the base has 2.10 nats per token on the held-out text and the tuned model 2.35: `increase`
0.25. LoRA's authors of "LoRA Learns Less and Forgets Less" (arXiv 2405.09673) measure forgetting
beside learning in the same way, on tasks of the source domain. The text is `eval.held_out_text`,
or for the embedded base documents of its own pretraining distribution that it never saw.

`nll` and `bits_per_byte` are as in `loss`, over all tokens of the text. It is computed from
tokens, not from answers, so `score` adds nothing to an item.
"""

from experiments.evaluation.metric_files import Item

DIRECTION = {"nll": "minimize", "bits_per_byte": "minimize", "increase": "minimize"}


def score(item: Item) -> dict[str, float]:
    """Return nothing: `evaluation.held_out` measures this metric."""
    return {}
