"""A slot holds the tokens of its row, whatever rows come and go beside it."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from experiments.evaluation.kv_slots import KvSlots

HEADS, SIZE, LAYERS = 2, 4, 2


def prefilled(*rows: tuple[int, int]) -> tuple[DynamicCache, torch.Tensor]:
    """Return a cache of rows given as (first value, length), padded on the left."""
    width = max(length for _, length in rows)
    keys = torch.full((len(rows), HEADS, width, SIZE), -99.0)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for at, (first, length) in enumerate(rows):
        keys[at, :, width - length :] = torch.arange(first, first + length)[:, None].float()
        mask[at, width - length :] = 1
    cache = DynamicCache()
    for layer in range(LAYERS):
        cache.update(keys + 1000 * layer, -keys, layer)
    return cache, mask


def tokens(slots: KvSlots, row: int, layer: int = 0) -> list[float]:
    return list(slots.cache.layers[layer].keys[row, 0, : slots.lengths[row], 0].tolist())


def write(slots: KvSlots, *values: int) -> Any:
    """Decode one token of each row; return the first layer's keys and values."""
    new = torch.tensor(values).float()[:, None, None, None].expand(-1, HEADS, 1, SIZE)
    seen = [slots.cache.update(new + 1000 * layer, -new, layer) for layer in range(LAYERS)]
    slots.written()
    return seen[0]


def test_rows_are_added_without_their_padding_and_grow_by_one_token_in_place() -> None:
    slots = KvSlots(1e9)
    slots.add(*prefilled((10, 3), (20, 5)), slots=2, width=9)
    before = slots.cache.layers[0].keys
    keys, values = write(slots, 13, 25)
    assert (tokens(slots, 0), tokens(slots, 1)) == ([10, 11, 12, 13], [20, 21, 22, 23, 24, 25])
    assert tokens(slots, 1, layer=1)[0] == 1020
    assert slots.cache.layers[0].keys is before, "nothing was concatenated"
    assert keys.shape == (2, HEADS, 6, SIZE)
    assert keys.data_ptr() == before.data_ptr(), "attention reads a view"
    assert values.isfinite().all() and keys.isfinite().all(), "masked positions hold no NaN"


def test_the_last_row_moves_into_the_slot_of_a_row_that_ends() -> None:
    slots = KvSlots(1e9)
    slots.add(*prefilled((10, 3), (20, 2), (30, 4), (40, 1)), slots=4, width=8)
    assert slots.keep([0, 2, 3]) == [0, 3, 2]
    assert [tokens(slots, row) for row in range(3)] == [[10, 11, 12], [40], [30, 31, 32, 33]]
    write(slots, 13, 41, 34)
    assert slots.keep([1]) == [1]
    assert tokens(slots, 0) == [40, 41]
    assert (slots.lengths, slots.width) == ([2], 3)
    assert slots.keep([]) == []
    assert (slots.lengths, slots.width) == ([], 1)


@pytest.mark.parametrize("most_bytes", [0, 1e9])
def test_rows_survive_when_the_slots_grow(most_bytes: float) -> None:
    slots = KvSlots(most_bytes)
    slots.add(*prefilled((10, 3)), slots=1, width=4)
    write(slots, 13)
    slots.add(*prefilled((20, 6), (30, 2)), slots=3, width=20)
    assert [tokens(slots, row) for row in range(3)] == [
        [10, 11, 12, 13], [20, 21, 22, 23, 24, 25], [30, 31]
    ]  # fmt: skip
    kept = slots.cache.layers[0].keys.shape
    assert kept == ((3, HEADS, 20, SIZE) if not most_bytes else (3, HEADS, 25, SIZE))


def test_a_step_of_a_model_has_the_logits_of_its_own_cache() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    rows = [[5, 6, 7], [8, 9, 10, 11, 12]]
    with torch.inference_mode():
        wanted = [model(input_ids=torch.tensor([[*row, 3, 4]])).logits[0, -1] for row in rows]
        ids = torch.tensor([[0, 0, *rows[0]], rows[1]])
        mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
        cache = DynamicCache(config=config)
        position = (mask.cumsum(1) - 1).clamp(min=0)
        model(input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache)
        slots = KvSlots(1e9)
        slots.add(cache, mask, slots=2, width=7)
        for token in (3, 4):
            place = torch.arange(slots.width)[None]
            logits = model(
                input_ids=torch.tensor([[token], [token]]),
                attention_mask=(place <= slots.lengths_B[:, None]).long(),
                position_ids=slots.lengths_B[:, None],
                past_key_values=slots.cache,
            ).logits[:, -1]
            slots.written()
    torch.testing.assert_close(logits, torch.stack(wanted), atol=1e-5, rtol=1e-5)
