"""Conversation -> token ids, with the model's own chat template; one path for training and test.

The text before each answer is cut exactly where generation starts, and the pieces are tokenised
one by one, so the tokens a model is trained after are the tokens it is asked with. Trained are the
assistant's turns with their end-of-turn token, nothing else.

Text of a row never becomes a control token: a user who writes `<|im_end|>` has written text.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import DataError

# Two private-use characters; put inside a control token's text, they keep it from being one, and
# the pieces around them are tokenised apart.
_BREAK = "\ue0f0\ue0f1"


@dataclass(frozen=True)
class Encoded:
    """A row as tokens."""

    row: dict[str, Any]
    input_ids: list[int]
    """Shape (L,)."""
    labels: list[int]
    """Shape (L,): the token where it is trained, else -100."""
    prompt_ids: list[int]
    """Everything before the last assistant turn's first token."""

    @property
    def trained_tokens(self) -> int:
        """How many tokens are trained."""
        return sum(label != -100 for label in self.labels)

    @property
    def answer_tokens(self) -> int:
        """Length of the last assistant turn, end-of-turn included."""
        tail = self.labels[len(self.prompt_ids) :]
        return sum(label != -100 for label in tail)


class Renderer:
    """Renders rows with one tokenizer and its template."""

    def __init__(self, tokenizer: Any, end_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._end_tokens = tokenizer.convert_ids_to_tokens(end_ids)
        added = tokenizer.added_tokens_decoder.values()
        self._control = sorted({str(t) for t in added}, key=len, reverse=True)
        self._special = sorted({str(t) for t in added if t.special}, key=len, reverse=True)

    def text(self, row: dict[str, Any], *, upto: int | None = None, prompt: bool = False) -> str:
        """Render a row's first `upto` messages, with the generation prompt if asked for."""
        rendered = self._tokenizer.apply_chat_template(
            row["messages"][:upto],
            tools=row.get("tools") or None,
            add_generation_prompt=prompt,
            tokenize=False,
        )
        return str(rendered)

    def encode(self, rows: Sequence[dict[str, Any]]) -> list[Encoded]:
        """Tokenise rows whose last message is the assistant's.

        Raises:
            DataError: the template fails on a row, does not continue its own prompt, or writes
                no end-of-turn token.
        """
        spans = [self._spans(row) for row in rows]
        ids = iter(self._tokens([text for row_spans in spans for text, _ in row_spans]))
        encoded = []
        for row, row_spans in zip(rows, spans, strict=True):
            input_ids: list[int] = []
            labels: list[int] = []
            prompt_length = 0
            for at, (_, trained) in enumerate(row_spans):
                if at == len(row_spans) - 1:
                    prompt_length = len(input_ids)
                piece = next(ids)
                input_ids += piece
                labels += piece if trained else [-100] * len(piece)
            encoded.append(Encoded(row, input_ids, labels, input_ids[:prompt_length]))
        return encoded

    def _spans(self, row: dict[str, Any]) -> list[tuple[str, bool]]:
        """Cut a rendered row into (text, trained); the last span is the last assistant turn."""
        safe = self._guarded(row)
        turns = [i for i, m in enumerate(safe["messages"]) if m["role"] == "assistant"]
        try:
            whole = self.text(safe)
            prefixes = [self.text(safe, upto=i, prompt=True) for i in turns]
        except Exception as error:  # a template is a program: it may raise anything
            raise DataError(f"row {row['id']}: the chat template fails on it: {error}") from error
        spans = []
        at = 0
        for prefix, i in zip(prefixes, turns, strict=True):
            if not whole.startswith(prefix):
                raise DataError(
                    f"row {row['id']}: the chat template is not prefix-preserving, so what is "
                    "trained would not be what is generated; use another model.chat_template."
                )
            end = self._end_of_turn(whole, len(prefix), row["id"])
            message = safe["messages"][i]
            # An empty turn would teach nothing but silence.
            said = bool(message["content"].strip() or message.get("tool_calls"))
            spans += [(whole[at : len(prefix)], False), (whole[len(prefix) : end], said)]
            at = end
        return spans

    def prompt(self, row: dict[str, Any]) -> list[int]:
        """Return the token ids of a conversation that waits for the assistant's turn."""
        return self._tokens([self.text(self._guarded(row), prompt=True)])[0]

    def _end_of_turn(self, whole: str, start: int, row_id: str) -> int:
        """Return the index after the first end token; guarded text cannot hold one itself."""
        ends = [(whole.find(token, start), token) for token in self._end_tokens]
        found = [(index, token) for index, token in ends if index >= 0]
        if not found:
            raise DataError(
                f"row {row_id}: the chat template writes none of {self._end_tokens} after the "
                "assistant's turn, so the model would never learn to stop."
            )
        index, token = min(found)
        return index + len(token)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Tokenise texts in one call; the parts around a broken control token apart."""
        parts = [text.split(_BREAK) for text in texts]
        flat = [piece for pieces in parts for piece in pieces]
        found = iter(self._tokenizer(flat, add_special_tokens=False)["input_ids"] if flat else [])
        return [[token for _ in pieces for token in next(found)] for pieces in parts]

    def _guarded(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row with every control token in its text broken apart."""
        messages = []
        for original in row["messages"]:
            message = copy.copy(original)
            own = message["role"] == "assistant"
            message["content"] = self._guard(message.get("content") or "", own=own)
            if message.get("tool_calls"):
                message["tool_calls"] = self._guard(message["tool_calls"], own=False)
            messages.append(message)
        return {"messages": messages, "tools": self._guard(row.get("tools") or [], own=False)}

    def _guard(self, value: Any, *, own: bool) -> Any:
        """Break control tokens in any JSON value; the assistant's own text may hold markup."""
        if isinstance(value, str):
            for token in self._special if own else self._control:
                if token in value:
                    value = value.replace(token, token[0] + _BREAK + token[1:])
            return value
        if isinstance(value, list):
            return [self._guard(v, own=own) for v in value]
        if isinstance(value, dict):
            return {self._guard(k, own=own): self._guard(v, own=own) for k, v in value.items()}
        return value
