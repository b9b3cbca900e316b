"""Check on one sentence that a loaded model's forward pass can be scored.

Scores are computed from next-token predictions and from answers that are generated in batches with
a KV cache. Both are compared here with a plain pass over the complete sentence, so a model of any
architecture is either scored correctly or refused before a run starts.
"""

from typing import Any

from experiments.errors import ConfigError
from experiments.runtime.out_of_memory import is_out_of_memory

_PROBE_TEXT = "The weather in Oslo is fine today."
# Largest mean difference between logits that should be equal, in standard deviations of the logits.
# In half precision a near tie may route a token to other experts; unrelated logits differ by 1.1.
_TOLERANCE, _TOLERANCE_HALF = 0.01, 0.5
# Largest difference that later tokens may cause in a single fp32 logit, from rounding only.
_CAUSAL_TOLERANCE = 1e-3
_PADDING = 3


def refuse_unscorable(model: Any, tokenizer: Any) -> None:
    """Refuse a model that is not causal, or that cannot continue padded rows from a KV cache.

    Raises:
        ConfigError: names the model type and what it cannot do.
    """
    import torch

    ids = list(tokenizer(_PROBE_TEXT, add_special_tokens=False).input_ids)
    if len(set(ids)) < 2:
        return  # the tokenizer does not know these letters
    try:
        with torch.inference_mode():
            problem = _problem(model, ids, tokenizer.pad_token_id or 0)
    except Exception as error:  # a model's own code may raise anything
        if is_out_of_memory(error):
            raise
        problem = f"cannot generate in batches ({str(error).splitlines()[0][:200]})"
    if problem is not None:
        raise ConfigError(
            f"{model.name_or_path}: a model of type '{model.config.model_type}' {problem}; choose "
            "another causal language model in model.hub_id or model.path."
        )


def _problem(model: Any, ids: list[int], pad: int) -> str | None:
    """Return what the model cannot do, as the rest of a sentence. L tokens, V vocabulary."""
    import torch

    logits_LV, half = _logits(model, ids), len(ids) // 2
    full_precision = logits_LV.dtype in (torch.float32, torch.float64)
    scale = float(logits_LV.float().std())
    changed_LV = _logits(model, ids[:half] + ids[:1] * (len(ids) - half))
    difference_LV = _absolute_difference(logits_LV[:half], changed_LV[:half])
    looks_ahead = difference_LV.max() > scale * _CAUSAL_TOLERANCE
    if not full_precision:  # an expert rounds differently for another number of tokens
        looks_ahead = difference_LV.mean() > scale * _TOLERANCE_HALF
    if looks_ahead:
        return "predicts tokens from later ones, so its losses would be meaningless"
    limit = scale * (_TOLERANCE if full_precision else _TOLERANCE_HALF)
    for index, batched_V in zip((-2, -1), _batched_logits(model, ids, pad), strict=True):
        if _absolute_difference(logits_LV[index], batched_V).mean() > limit:
            return "answers differently in a batch than alone, so its scores would be meaningless"
    return None


def _logits(model: Any, ids: list[int]) -> Any:
    import torch

    ids_1L = torch.tensor([ids], device=model.device)
    outputs = model(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L), use_cache=False)
    return outputs.logits[0]


def _batched_logits(model: Any, ids: list[int], pad: int) -> tuple[Any, Any]:
    """Return the logits of the last two tokens, computed as in batched generation.

    The row is padded, shares its batch with another row that finishes first and is removed, and
    continues from the KV cache.
    """
    import torch
    from transformers import DynamicCache

    rows = [[pad] * _PADDING + ids[:-1], [*ids[:_PADDING], *ids[:-1]]]
    rows_2L = torch.tensor(rows, device=model.device)
    mask_2L = torch.ones_like(rows_2L)
    mask_2L[0, :_PADDING] = 0
    position_2L = (mask_2L.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    options = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
    first = model(
        input_ids=rows_2L, attention_mask=mask_2L, position_ids=position_2L, **options
    ).logits[0, -1]
    cache.reorder_cache(torch.tensor([0], device=model.device))
    last = model(
        input_ids=torch.tensor([ids[-1:]], device=model.device),
        attention_mask=torch.nn.functional.pad(mask_2L[:1], (0, 1), value=1),
        position_ids=position_2L[:1, -1:] + 1,
        **options,
    ).logits[0, -1]
    return first, last


def _absolute_difference(first: Any, second: Any) -> Any:
    return (first.float() - second.float()).abs()
