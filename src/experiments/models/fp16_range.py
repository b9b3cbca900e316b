"""Check before training that a base can compute in fp16, whose numbers end at 65,504.

GPUs without bf16, such as a T4, compute in fp16. Models that were trained in bf16 may exceed its
range (Gemma 3 is known to), mostly at the first token or in long texts: then all scores are NaN,
and a gradient scaler skips every step.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from experiments.errors import ConfigError

LARGEST = 65_504.0
_TEXT = "The weather in Oslo is fine today."
_REPEATS = 16
_CLOSE = 0.5
"""Share of the range above which the largest activation is noted."""


def refuse_overflow(model: Any, tokenizer: Any) -> list[str]:
    """Refuse a model whose forward pass on plain text or on a chat leaves the range of fp16.

    Weights that are stored in fp32, as for full fine-tuning, compute under autocast as in training.

    Args:
        model: the base, in evaluation mode on its device.
        tokenizer: its tokenizer.

    Returns:
        A note if the hidden states come close to the end of the range, else nothing.

    Raises:
        ConfigError: the logits are not finite.
    """
    import torch

    largest = 0.0
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for ids in _texts(tokenizer):
        ids_1L = torch.tensor([ids[:positions]], device=model.device)
        with torch.no_grad(), _as_in_training(model):
            output = model(input_ids=ids_1L, output_hidden_states=True, use_cache=False)
        if not torch.isfinite(output.logits).all():
            raise ConfigError(
                f"{model.name_or_path} overflows in fp16: its activations exceed {LARGEST:,.0f}, "
                "so its logits are not finite and it cannot be trained or scored in fp16; use "
                "trainer.precision=fp32, which needs twice the memory, or bf16 on a GPU of compute "
                "capability 8.0 or newer."
            )
        states = output.hidden_states or ()
        largest = max([largest, *(float(state.abs().max()) for state in states)])
    if largest <= _CLOSE * LARGEST:
        return []
    return [
        f"fp16: hidden states reach {largest:,.0f} of at most {LARGEST:,.0f} on a test text, so "
        "other texts may overflow; trainer.precision=fp32 cannot"
    ]


def _texts(tokenizer: Any) -> Iterator[list[int]]:
    """Yield the tokens of a sentence, of a longer text, and of a chat if it can be rendered."""
    for text in (_TEXT, " ".join([_TEXT] * _REPEATS)):
        yield list(tokenizer(text).input_ids)
    chat = [{"role": "user", "content": _TEXT}, {"role": "assistant", "content": _TEXT}]
    with contextlib.suppress(Exception):  # templates are programs; the first row reports the reason
        rendered = tokenizer.apply_chat_template(chat, tokenize=False)
        yield list(tokenizer(rendered, add_special_tokens=False).input_ids)


def _as_in_training(model: Any) -> Any:
    import torch

    on_half = next(model.parameters()).dtype == torch.float16
    device = model.device.type
    return contextlib.nullcontext() if on_half else torch.autocast(device, dtype=torch.float16)
