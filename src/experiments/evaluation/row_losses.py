"""Sum the NLL of each row's trained tokens by token class, and count the bytes of their text.

Each value is stored as (sum, weight) per row, so that a mean over any set of rows is exact and
confidence intervals over rows can be computed from the items.
"""

import math
from collections.abc import Sequence
from typing import Any

from experiments.data import Encoded
from experiments.toolcalls import token_classes

Parts = dict[str, tuple[float, float]]
"""Maps a score key to the (sum, weight) of one row."""


def parts(encoded: Encoded, losses: Sequence[float], tokenizer: Any, end_ids: set[int]) -> Parts:
    """Return a row's part of each loss score.

    Args:
        encoded: the row.
        losses: NLL of each trained token, in nats, in order.
        tokenizer: the tokenizer of the row's tokens.
        end_ids: tokens that end a turn.
    """
    classes: list[str] = []
    text_bytes = 0
    for start, end in encoded.trained:
        ids = encoded.ids[start:end].tolist()
        text, offsets = _decode_with_offsets([i for i in ids if i not in end_ids], tokenizer)
        text_bytes += len(text.encode("utf-8", "replace"))
        class_of_token = iter(
            token_classes.of_tokens(text, offsets, is_json="schema" in encoded.row)
        )
        classes += ["end_of_turn" if i in end_ids else next(class_of_token) for i in ids]
    classes = classes[len(classes) - len(losses) :]  # a row's first token has no loss
    nll = math.fsum(losses)
    result: Parts = {"loss/nll": (nll, len(losses))}
    if text_bytes:
        result["loss/bits_per_byte"] = (nll / math.log(2), text_bytes)
    for name in token_classes.CLASSES:
        class_losses = [
            value for value, token_class in zip(losses, classes, strict=True) if token_class == name
        ]
        if class_losses:
            result[f"loss/nll_{name}"] = (math.fsum(class_losses), len(class_losses))
    return result


def _decode_with_offsets(ids: list[int], tokenizer: Any) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of tokens and the character span of each."""
    text: str = tokenizer.decode(ids, skip_special_tokens=False)
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    if encoding.ids == ids:
        return text, list(encoding.offsets)
    # Fallback for text that was tokenised in parts (a control token split in it): slower, but
    # always correct.
    ends = [len(tokenizer.decode(ids[: n + 1], skip_special_tokens=False)) for n in range(len(ids))]
    return text, list(zip([0, *ends[:-1]], ends, strict=True))
