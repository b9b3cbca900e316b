"""Concatenate the rows of a micro-batch into one sequence instead of padding them.

No row is truncated, dropped or joined: each row keeps its labels and its positions from 0, and
attends only to itself. This depends on the attention implementation: transformers derives a
block-diagonal mask from the positions if a sequence has neither a mask nor a cache
(`masking_utils.find_packed_sequence_indices`, 5.23), variable-length kernels read the positions as
well, and layers with a recurrent state ignore them. It is therefore measured before training.

T tokens of all rows together, L tokens of one row, V vocabulary.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from experiments.data import Encoded
from experiments.errors import ConfigError
from experiments.runtime import transformers_private

Computing = Callable[[], AbstractContextManager[Any]]

# Two pieces of rows are enough to detect a leak; the logits of 128 tokens with a vocabulary of 152k
# take 80 MB.
_PROBE_TOKENS = 64
# Relative norm of the change in the second row's logits when the first row is replaced by another
# of the same length: 0 in seven architectures with block-diagonal masks, 0.007 to 0.26 in BLOOM,
# OPT and Mamba, which have none.
_LEAK = 1e-4
# The same relative to the row without packing, where rounding differs: up to 2e-7 in fp32, 3e-3 in
# bf16 and 4e-4 in fp16 in those seven architectures.
_ROUNDING = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 1e-2}


def collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
    """Concatenate rows into `input_ids`, `position_ids` and `labels`, each of shape (1, T).

    The label of each row's first token is -100, so that it is not predicted from the previous row.

    >>> batch = collate([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]},
    ...                  {"input_ids": [8, 9], "labels": [8, 9]}])
    >>> batch["position_ids"].tolist(), batch["labels"].tolist()
    ([[0, 1, 2, 0, 1]], [[-100, 6, 7, -100, 9]])
    """
    import torch

    ids = [token for row in rows for token in row["input_ids"]]
    positions = [position for row in rows for position in range(len(row["input_ids"]))]
    labels = [label for row in rows for label in [-100, *row["labels"][1:]]]
    columns = {"input_ids": ids, "position_ids": positions, "labels": labels}
    return {name: torch.tensor([values]) for name, values in columns.items()}


def refuse_leaks(model: Any, rows: Sequence[Encoded], precision: str, computing: Computing) -> None:
    """Check with two packed rows, computed as in training, that rows do not affect each other.

    Args:
        model: the model to train, with or without an adapter.
        rows: the rows to take two from.
        precision: `fp32`, `bf16` or `fp16`.
        computing: returns the context of a forward pass, such as autocast.

    Raises:
        ConfigError: packed rows affect each other, or positions continue from row to row.
    """
    leak, drift = probe(model, _two_rows(rows), computing)
    if leak <= _LEAK and drift <= _ROUNDING[precision]:
        return
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    name, kernel = type(base).__name__, transformers_private.attention_of(base)
    raise ConfigError(
        f"trainer.packing=true: {name} with {kernel} attention lets packed rows affect each other "
        f"(a row's logits change by {leak:.2%} with the row before it, and differ by {drift:.2%} "
        f"from those of the row alone; the limits in {precision} are {_LEAK:.2%} and "
        f"{_ROUNDING[precision]:.2%}): set trainer.packing=false."
    )


def probe(model: Any, two: Sequence[list[int]], computing: Computing) -> tuple[float, float]:
    """Return how much the second row's logits depend on the row before it.

    Args:
        model: a causal language model, with or without an adapter.
        two: the token ids of two rows.
        computing: returns the context of a forward pass, such as autocast.

    Returns:
        Relative differences of the logits: from the row after other tokens, and from the unpacked
        row.
    """
    import torch

    first, second = two
    replacement = [(token + 1) % model.config.get_text_config().vocab_size for token in first]
    was_training = model.training
    model.eval()

    def logits_of_second(*packed_rows: list[int]) -> Any:
        batch = collate([{"input_ids": ids, "labels": ids} for ids in packed_rows])
        del batch["labels"]
        inputs = {name: ids.to(model.device) for name, ids in batch.items()}
        return model(**inputs, use_cache=False).logits[0, -len(second) :].float()

    with torch.no_grad(), computing():
        packed_LV = logits_of_second(first, second)
        other_LV, alone_LV = logits_of_second(replacement, second), logits_of_second(second)
    model.train(was_training)
    norm = alone_LV.norm()
    return float((packed_LV - other_LV).norm() / norm), float((packed_LV - alone_LV).norm() / norm)


def _two_rows(rows: Sequence[Encoded]) -> list[list[int]]:
    """Return the starts of two different rows, or of the same row twice if there is only one."""
    first = rows[0].input_ids
    different = next((row.input_ids for row in rows if row.input_ids != first), first)
    return [ids[:_PROBE_TOKENS] for ids in (first, different)]
