"""Tokenise pieces of rendered text, many rows per tokenizer call."""

from typing import Any

from experiments.data.special_token_escaping import Guard


class PieceTokenizer:
    """Tokenises escaped text piece by piece, so that no token spans two pieces."""

    def __init__(self, tokenizer: Any, guard: Guard) -> None:
        self._tokenizer = tokenizer
        self._guard = guard

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Tokenise texts in one call; the parts around a broken special token are separate."""
        parts = [self._guard.parts(text) for text in texts]
        all_parts = [part for pieces in parts for part in pieces]
        encoded = iter(self._encoded(all_parts) if all_parts else [])
        return [
            next(encoded)
            if len(text_parts) == 1
            else [i for _ in text_parts for i in next(encoded)]
            for text_parts in parts
        ]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:  # a tokenizer written in Python
            ids = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            return list(ids)
        # Like the tokenizer's own call, but without computing offsets, which are not needed here.
        backend.no_padding()
        backend.no_truncation()
        return [
            encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)
        ]
