"""Negative log-likelihood per trained token, in nats: the mean over tokens, also by token class.

Example: rows with summed NLL 6.0 over 3 tokens and 1.0 over 1 token give 7/4 = 1.75, not the mean
of the row means (1.5). A mean of batch means, which trainers report, depends on the batch size:
with TRL 1.16, one model and one set gave 5.2420 at batch size 1 and 5.1781 at 8.

`bits_per_byte` is the summed NLL of the trained tokens, end-of-turn included, in bits, divided by
the UTF-8 bytes of their text (without the end-of-turn marker). Tokenizers split the same text into
different numbers of tokens, so NLL per token cannot be compared between them, but bits per byte
can. `nll_<class>` is the mean over the tokens of one class of `token_classes`.

The metric is computed from tokens, not from answers, so `score` adds nothing to an item.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from experiments.evaluation.metric_files import Item
from experiments.runtime.out_of_memory import is_out_of_memory, release
from experiments.toolcalls.token_classes import CLASSES

DIRECTION = {
    "nll": "minimize",
    "bits_per_byte": "minimize",
    **{f"nll_{name}": "minimize" for name in CLASSES},
}
# Rows x padded length of one forward pass. It bounds a layer's activations; no logits are stored.
# On a CPU core, 2,048 and 4,096 were the fastest of 1,024 to 16,384; a GPU is faster with the
# larger one.
TOKENS_PER_BATCH = 4096
Part = tuple[float, int]
"""(summed NLL in nats, number of tokens)"""


class TokenRow(Protocol):
    """A row as tokens; labels are -100 for tokens that are not trained."""

    @property
    def input_ids(self) -> list[int]:
        """Token ids, shape (L,)."""

    @property
    def labels(self) -> list[int]:
        """Token ids or -100, shape (L,)."""


def score(item: Item) -> dict[str, float]:
    """Return nothing: `token_losses` measures this metric."""
    return {}


def token_nll(model: Any, rows: Sequence[TokenRow]) -> list[Part]:
    """Return for each row the summed NLL in nats and the number of trained tokens."""
    return [(math.fsum(losses), len(losses)) for losses in token_losses(model, rows)]


def token_losses(
    model: Any, rows: Sequence[TokenRow], on_rows: Callable[[int], None] = lambda _: None
) -> list[list[float]]:
    """Return for each row the NLL of each trained token, in nats, in the order of the tokens.

    A row's first token has no prediction and is left out. Rows are batched by length
    (right-padded), so the result depends on the batch size only through rounding. If memory runs
    out, batches are halved from then on. `on_rows` is called with the rows of each batch, when it
    is done. B rows, L tokens.
    """
    import torch

    from experiments.models import causal_lm_loss

    remaining = sorted(range(len(rows)), key=lambda i: len(rows[i].input_ids))
    result: list[list[float]] = [[] for _ in rows]
    model_loss = causal_lm_loss.of(model)
    was_training = model.training
    model.eval()
    tokens = TOKENS_PER_BATCH
    with torch.no_grad():
        while remaining:
            batch = _first_batch(remaining, rows, tokens)
            losses = _batch_losses(model, [rows[i] for i in batch], model_loss)
            if losses is None:
                tokens = len(batch) * len(rows[batch[-1]].input_ids) // 2
                continue
            for i, row_losses in zip(batch, losses, strict=True):
                result[i] = row_losses
            remaining = remaining[len(batch) :]
            on_rows(len(batch))
    model.train(was_training)
    return result


def _batch_losses(
    model: Any, rows: Sequence[TokenRow], model_loss: Any
) -> list[list[float]] | None:
    """Return the losses of each row, or None if memory ran out for several rows."""
    try:
        return _compute_losses(model, rows, model_loss)
    except (RuntimeError, MemoryError) as error:
        if len(rows) == 1 or not is_out_of_memory(error):
            raise
    release()
    return None


def _compute_losses(model: Any, rows: Sequence[TokenRow], model_loss: Any) -> list[list[float]]:
    import torch

    width = max(len(row.input_ids) for row in rows)
    ids_BL = torch.zeros((len(rows), width), dtype=torch.long)
    labels_BL = torch.full((len(rows), width), -100)
    mask_BL = torch.zeros((len(rows), width), dtype=torch.long)
    for b, row in enumerate(rows):
        length = len(row.input_ids)
        ids_BL[b, :length] = torch.tensor(row.input_ids)
        labels_BL[b, :length] = torch.tensor(row.labels)
        mask_BL[b, :length] = 1
    device = model.device
    inputs = {"input_ids": ids_BL.to(device), "attention_mask": mask_BL.to(device)}
    nll_N, _ = model_loss(model, inputs | {"use_cache": False}, labels_BL.to(device))
    counts = (labels_BL[:, 1:] != -100).sum(1).tolist()
    return [row_nll_N.tolist() for row_nll_N in nll_N.cpu().split(counts)]


def mean_nll(parts: Sequence[tuple[float, int]]) -> float:
    """Return the mean over tokens of (summed NLL, tokens) pairs, in nats.

    >>> mean_nll([(6.0, 3), (1.0, 1)])
    1.75
    """
    return sum(nll for nll, _ in parts) / max(1, sum(tokens for _, tokens in parts))


def _first_batch(remaining: Sequence[int], rows: Sequence[TokenRow], tokens: int) -> list[int]:
    """Return as many of the shortest rows as fit into a number of tokens; at least one."""
    batch: list[int] = []
    for i in remaining:  # ascending length: the newest row is the longest of its batch
        if batch and (len(batch) + 1) * len(rows[i].input_ids) > tokens:
            break
        batch.append(i)
    return batch
