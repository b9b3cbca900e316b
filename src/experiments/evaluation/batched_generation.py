"""Generate greedy answers in batches, with the same text as one prompt at a time.

Prompts are prefilled in chunks of similar length, and the rows of all chunks are decoded together
in one pool. A row that ends leaves the pool, and the next chunk is prefilled as soon as it fits.
Neither padding nor a single long answer delays the other rows, and the model is called with as many
rows as memory allows. Where several prompts have a common prefix (system text and tools), it is
prefilled once and its KV cache is shared.

In a prefill every row is padded on the left, after the shared prefix if there is one; padding is
masked and does not count as a position. Decoding needs no padding (`kv_slots.py`).

B rows, L tokens, P tokens of a shared prefix.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.evaluation.pool import BatchPool, Pool, Prefill, SlotPool, is_plain
from experiments.models import Base
from experiments.runtime.out_of_memory import is_out_of_memory
from experiments.runtime.progress import log

# `make bench` prints the speed of these settings relative to one prompt at a time.
CHUNK_ROWS = 32
POOL_ROWS_CPU, POOL_ROWS_GPU = 128, 256
# Upper limit on the tokens in one prefill. On a CPU, the activations should fit its cache, so that
# SmolLM2-135M reads faster in chunks of two long prompts than in chunks of eight.
CHUNK_TOKENS_CPU, CHUNK_TOKENS_GPU = 1024, 16_384
# A shorter prefix, or one shared by fewer prompts, costs more calls than it saves.
SHARED_TOKENS, SHARED_ROWS = 64, 8
# Share of the free memory that the KV cache may take; a CPU gains nothing from more than 1 GiB.
CACHE_SHARE, CACHE_BYTES_CPU = 0.5, 1 << 30


@dataclass(frozen=True)
class Generated:
    """One generated answer."""

    text: str
    """The text without its end token."""
    new_tokens: int
    """Number of generated tokens, including the end token."""
    stop_reason: str
    """`end_token`, `max_new_tokens`, or `positions` (the model's longest sequence is reached)."""

    @property
    def stopped(self) -> bool:
        """Whether the model ended the answer itself."""
        return self.stop_reason == "end_token"


@dataclass(frozen=True)
class Limits:
    """Limits on the length of answers and on the rows generated at a time."""

    new_tokens: int
    pool_rows: int | None = None
    """None: chosen by device and memory."""


Done = Callable[[int, Generated], None]
"""Called with (index of the prompt, its answer) as soon as an answer ends."""


def generate(
    model: Any, base: Base, prompts: Sequence[list[int]], limits: Limits, done: Done
) -> list[str]:
    """Answer each prompt with greedy decoding and pass each answer to `done` when it ends.

    Args:
        model: the base model, with or without an adapter.
        base: its tokenizer, end tokens, longest sequence and device.
        prompts: token ids; each prompt has at least 1 token and fewer than the model's longest
            sequence.
        limits: limits on answers and memory.
        done: receives the answers, in the order in which they end.

    Returns:
        Notes for the record: out-of-memory events and the number of rows used afterwards.
    """
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return _Generator(model, base, prompts, limits, done).run()
    finally:
        model.train(was_training)


@dataclass
class _Chunk:
    """Prompts that are prefilled together; all start with the same `shared` tokens."""

    indices: list[int]
    shared: tuple[int, ...] = ()


@dataclass
class _Generator:
    model: Any
    base: Base
    prompts: Sequence[list[int]]
    limits: Limits
    done: Done
    notes: list[str] = field(default_factory=list)
    pool: Pool | None = None
    slots: Any = None
    """The `KvSlots` of the rows of a pool, kept for the next one."""
    new_ids: dict[int, list[int]] = field(default_factory=dict)
    """Maps the index of an unfinished prompt to its new tokens."""
    prefix_caches: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """Maps a shared prefix to its KV cache, which has one row."""

    def run(self) -> list[str]:
        from transformers import DynamicCache

        self.end_ids = set(self.base.end_ids)
        on_cpu = self.base.precision.device == "cpu"
        self.pool_rows = self.limits.pool_rows or (POOL_ROWS_CPU if on_cpu else POOL_ROWS_GPU)
        self.chunk_tokens = CHUNK_TOKENS_CPU if on_cpu else CHUNK_TOKENS_GPU
        self.cache_bytes = _free_bytes(on_cpu) * CACHE_SHARE
        if on_cpu:
            self.cache_bytes = min(self.cache_bytes, CACHE_BYTES_CPU)
        self.token_bytes = _cache_bytes_per_token(self.model)
        self.plain = is_plain(DynamicCache(config=self.model.config))
        self._queue(range(len(self.prompts)))
        while self.waiting or self.pool:
            try:
                self._admit()
                self._step()
            except (RuntimeError, MemoryError) as error:
                if self.pool_rows == 1 or not is_out_of_memory(error):
                    raise
                self._restart_with_half_the_rows()
        return self.notes

    def _queue(self, indices: Sequence[int]) -> None:
        """Split prompts into chunks with the same prefix and similar length, short ones first."""
        rows = min(CHUNK_ROWS, self.pool_rows)
        self.waiting: deque[_Chunk] = deque()
        groups = _group_by_prefix(self.prompts, indices) if self.plain else [((), list(indices))]
        for shared, members in groups:
            ordered = sorted(members, key=lambda i: len(self.prompts[i]))
            while ordered:
                longest = len(self.prompts[ordered[:rows][-1]])
                row_bytes = (longest + self.limits.new_tokens) * self.token_bytes
                fitting = min(self.chunk_tokens // longest, int(self.cache_bytes // row_bytes))
                size = max(1, min(rows, fitting))
                self.waiting.append(_Chunk(ordered[:size], shared))
                del ordered[:size]

    def _admit(self) -> None:
        """Prefill waiting chunks as long as their rows fit into the pool."""
        while self.waiting:
            chunk = self.waiting[0]
            if self.pool and not self._fits(chunk):
                return
            prefill = self._prefill(chunk)
            if self.plain:
                self._add(prefill)
            else:
                self.pool = BatchPool(prefill)
            self.waiting.popleft()
            self.new_ids |= {i: [] for i in chunk.indices}

    def _fits(self, chunk: _Chunk) -> bool:
        """Return whether a chunk fits beside the rows of the pool."""
        if not self.plain:
            return False
        rows = [*self.new_ids, *chunk.indices]
        size = len(rows) * self._width(rows) * self.token_bytes
        return len(rows) <= self.pool_rows and size <= self.cache_bytes

    def _width(self, indices: Sequence[int]) -> int:
        """Return how many positions the longest of the rows will need."""
        return max(len(self.prompts[i]) for i in indices) + self.limits.new_tokens

    def _add(self, prefill: Prefill) -> None:
        """Add rows to the pool, and reserve slots for as many as it will have at most."""
        from experiments.evaluation.kv_slots import KvSlots

        self.slots = self.slots or KvSlots(self.cache_bytes)
        pool = self.pool if isinstance(self.pool, SlotPool) else SlotPool(self.slots)
        width = self._width([*self.new_ids, *prefill.indices])
        rows = len(pool.indices) + len(prefill.indices)
        fitting = int(self.cache_bytes // (width * self.token_bytes))
        most = min(self.pool_rows, fitting, len(self.prompts))
        pool.add(prefill, max(rows, most), width)
        self.pool = pool

    def _prefill(self, chunk: _Chunk) -> Prefill:
        """Prefill the prompts of a chunk."""
        import torch

        device, prefix_length = self.model.device, len(chunk.shared)
        suffixes = [self.prompts[i][prefix_length:] for i in chunk.indices]
        width = max(map(len, suffixes))
        pad = self.base.tokenizer.pad_token_id or 0
        ids_BL = torch.tensor(
            [[pad] * (width - len(suffix)) + suffix for suffix in suffixes], device=device
        )
        mask_BL = torch.tensor(
            [
                [1] * prefix_length + [0] * (width - len(suffix)) + [1] * len(suffix)
                for suffix in suffixes
            ],
            device=device,
        )
        position_BL = (mask_BL.cumsum(1) - 1).clamp(min=0)[:, prefix_length:]
        cache = self._prefix_cache(chunk.shared, len(suffixes))
        logits_BV = self._forward(ids_BL, mask_BL, position_BL, cache)
        return Prefill(list(chunk.indices), cache, mask_BL, position_BL[:, -1:], logits_BV)

    def _prefix_cache(self, shared: tuple[int, ...], rows: int) -> Any:
        """Return a KV cache that contains the shared prefix for each of `rows` rows."""
        import copy

        import torch
        from transformers import DynamicCache

        if not shared:
            return DynamicCache(config=self.model.config)
        if shared not in self.prefix_caches:
            cache = DynamicCache(config=self.model.config)
            ids_1P = torch.tensor([list(shared)], device=self.model.device)
            position_1P = torch.arange(len(shared), device=self.model.device)[None]
            self._forward(ids_1P, torch.ones_like(ids_1P), position_1P, cache)
            self.prefix_caches = {shared: cache}  # chunks with the same prefix are adjacent
        cache = copy.deepcopy(self.prefix_caches[shared])
        cache.batch_repeat_interleave(rows)
        return cache

    def _forward(self, ids_BL: Any, mask_BL: Any, position_BL: Any, cache: Any) -> Any:
        """Return the logits after each row's last token, shape (B, V)."""
        return self.model(
            input_ids=ids_BL,
            attention_mask=mask_BL,
            position_ids=position_BL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def _step(self) -> None:
        """Decode one token for every row of the pool, and drop rows that ended."""
        pool = self.pool
        assert pool is not None, "there are rows, or run would have ended"
        next_B = pool.logits_BV.argmax(-1)
        unfinished = []
        for row, (i, token) in enumerate(zip(pool.indices, next_B.tolist(), strict=True)):
            if i not in self.new_ids:
                continue  # finished, but not dropped yet
            self.new_ids[i].append(token)
            reason = self._stop_reason(i, token)
            if reason is None:
                unfinished.append(row)
            else:
                self.done(i, self._answer(self.new_ids.pop(i), reason))
        if not unfinished:
            self.pool = None
            if self.slots:
                self.slots.keep([])
            return
        next_B = pool.keep(unfinished, next_B)
        mask_BL, position_B1, cache = pool.inputs()
        pool.decoded(self._forward(next_B[:, None], mask_BL, position_B1, cache))

    def _stop_reason(self, index: int, token: int) -> str | None:
        new = len(self.new_ids[index])
        if token in self.end_ids:
            return "end_token"
        if new >= self.limits.new_tokens:
            return "max_new_tokens"
        return "positions" if len(self.prompts[index]) + new >= self.base.positions else None

    def _answer(self, ids: list[int], reason: str) -> Generated:
        answer_ids = ids[:-1] if reason == "end_token" else ids
        text = self.base.tokenizer.decode(
            answer_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return Generated(text, len(ids), reason)

    def _restart_with_half_the_rows(self) -> None:
        """Restart the unfinished rows in smaller batches; the answers do not depend on it."""
        import torch

        largest = max(len(self.pool.indices) if self.pool else 1, min(CHUNK_ROWS, self.pool_rows))
        self.pool_rows = max(1, min(self.pool_rows, largest) // 2)
        note = (
            f"out of memory during generation: continuing with {self.pool_rows} prompts at a time"
        )
        self.notes.append(note)
        log(note)
        remaining = [*self.new_ids, *(i for chunk in self.waiting for i in chunk.indices)]
        self.pool, self.slots, self.new_ids, self.prefix_caches = None, None, {}, {}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._queue(sorted(set(remaining)))


def _group_by_prefix(
    prompts: Sequence[list[int]], indices: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield (shared prefix, indices of the prompts); the prefix is () if none is shared."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in indices:
        groups.setdefault(tuple(prompts[i][:SHARED_TOKENS]), []).append(i)
    ungrouped: list[int] = []
    for members in groups.values():
        # At least one token of each prompt must remain to be prefilled, or there would be no
        # logits.
        prefix = _common_prefix([prompts[i][:-1] for i in members])
        if len(members) >= SHARED_ROWS and len(prefix) >= SHARED_TOKENS:
            yield tuple(prefix), members
        else:
            ungrouped += members
    if ungrouped:
        yield (), ungrouped


def _common_prefix(lists: Sequence[list[int]]) -> list[int]:
    """Return the common prefix of all lists, which is that of the smallest and the largest one."""
    first, last = min(lists), max(lists)
    first_difference = next(
        (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None
    )
    return first[: min(len(first), len(last)) if first_difference is None else first_difference]


def _cache_bytes_per_token(model: Any) -> int:
    """Return the size of one token's keys and values in all layers, in bytes."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * model.dtype.itemsize)


def _free_bytes(on_cpu: bool) -> int:
    if on_cpu:
        import psutil

        return int(psutil.virtual_memory().available)
    import torch

    return int(torch.cuda.mem_get_info()[0])
