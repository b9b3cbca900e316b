"""Negative log-likelihood per trained token, in nats: a true token mean.

Example: rows with summed NLL 6.0 over 3 tokens and 1.0 over 1 token give 7/4 = 1.75, not the mean
of the row means (1.5). A mean of batch means, which trainers report, depends on the batch size:
one model and one set gave 5.2420 at batch 1 and 5.1781 at 8 with TRL 1.16.
It is computed from tokens, not from answers, so `score` adds nothing to an item.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from experiments.metrics import Item

DIRECTION = {"nll": "minimize"}
# Rows x padded length of one forward pass: bounds the logits, 2,048 x 152k x 4 bytes = 1.2 GB.
TOKENS_PER_BATCH = 2048


class Encoded(Protocol):
    """A row as tokens; labels are -100 where nothing is trained."""

    @property
    def input_ids(self) -> list[int]:
        """Token ids, shape (L,)."""

    @property
    def labels(self) -> list[int]:
        """Token ids or -100, shape (L,)."""


def score(item: Item) -> dict[str, float]:
    """Return nothing: `token_nll` measures this metric."""
    return {}


def token_nll(model: Any, rows: Sequence[Encoded]) -> list[tuple[float, int]]:
    """Return for each row the summed NLL in nats and the number of trained tokens.

    Rows are batched by length (right-padded), so the result does not depend on a batch size
    beyond rounding. B rows, L tokens, V vocabulary.
    """
    import torch
    from torch.nn import functional

    order = sorted(range(len(rows)), key=lambda i: len(rows[i].input_ids))
    result: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for batch in _batches(order, rows):
            width = max(len(rows[i].input_ids) for i in batch)
            ids_BL = torch.zeros((len(batch), width), dtype=torch.long)
            labels_BL = torch.full((len(batch), width), -100)
            mask_BL = torch.zeros((len(batch), width), dtype=torch.long)
            for b, i in enumerate(batch):
                length = len(rows[i].input_ids)
                ids_BL[b, :length] = torch.tensor(rows[i].input_ids)
                labels_BL[b, :length] = torch.tensor(rows[i].labels)
                mask_BL[b, :length] = 1
            device = model.device
            logits_BLV = model(
                input_ids=ids_BL.to(device), attention_mask=mask_BL.to(device), use_cache=False
            ).logits[:, :-1]
            target_BL = labels_BL[:, 1:].to(device)
            nll_BL = functional.cross_entropy(
                logits_BLV.float().transpose(1, 2), target_BL, ignore_index=-100, reduction="none"
            )
            sums = nll_BL.double().sum(dim=1).tolist()
            counts = (target_BL != -100).sum(dim=1).tolist()
            for b, i in enumerate(batch):
                result[i] = (sums[b], counts[b])
    model.train(was_training)
    return result


def mean_nll(parts: Sequence[tuple[float, int]]) -> float:
    """Return the token mean of (summed NLL, tokens) pairs, in nats.

    >>> mean_nll([(6.0, 3), (1.0, 1)])
    1.75
    """
    return sum(nll for nll, _ in parts) / max(1, sum(tokens for _, tokens in parts))


def _batches(order: Sequence[int], rows: Sequence[Encoded]) -> list[list[int]]:
    batches: list[list[int]] = []
    for i in order:  # ascending length: the newest row is the longest of its batch
        if batches and (len(batches[-1]) + 1) * len(rows[i].input_ids) <= TOKENS_PER_BATCH:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
