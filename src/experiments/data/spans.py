"""Locate the assistant turns in a rendered conversation.

Turns are found either by the text that the template writes before them, which is fast, or by
rendering the prompt of each turn, which is always correct. For the first conversation of each kind,
both methods are used and compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.data.conversation import Conversation
from experiments.data.tally import RowRefused
from experiments.data.templates import after_empty_thinking, without_open_thinking

Render = Callable[..., str]
"""Function (conversation, number of messages or None for all, prompt=False) that returns text."""


@dataclass(frozen=True)
class Span:
    """Character positions of an assistant turn."""

    start: int
    text_end: int
    """Start of its end-of-turn token."""
    end: int


class TurnFinder:
    """Locates assistant turns."""

    def __init__(self, render: Render, header: str, ends: list[str]) -> None:
        """Store the properties of the template.

        Args:
            render: renders a conversation or a prefix of it.
            header: text that the template writes before an assistant turn, "" if unknown.
            ends: texts of the tokens that end a turn.
        """
        self._render, self._header, self._end_tokens = render, header, ends
        self._scannable_kinds: dict[tuple[Any, ...], bool] = {}

    def spans(self, conversation: Conversation, rendered: str) -> list[Span]:
        """Return the span of every assistant turn in the rendered conversation.

        Raises:
            RowRefused: the text does not begin with the prompts of its turns, or a turn has no
                end-of-turn token of its own.
        """
        kind = conversation.kind()
        scannable = self._scannable_kinds.get(kind)
        starts = None if scannable is False else self._starts_by_header(conversation, rendered)
        checked = scannable is True and starts is not None
        if starts is None or not checked:
            by_prompt = self._starts_by_prompt(conversation, rendered)
            self._scannable_kinds.setdefault(kind, starts == by_prompt)
            starts = by_prompt
        limits = [*starts[1:], len(rendered)]
        spans = [
            self._span(rendered, start, limit, conversation.id)
            for start, limit in zip(starts, limits, strict=True)
        ]
        if not checked:
            self._check_ends(conversation, rendered, spans)
        return spans

    def _starts_by_header(self, conversation: Conversation, rendered: str) -> list[int] | None:
        """Return turn starts found by the text before them; None if ambiguous."""
        header = self._header
        if not header:
            return None
        parts = rendered.split(header)
        if len(parts) != len(conversation.turns) + 1:
            return None
        starts = []
        position = 0
        for part in parts[:-1]:
            position += len(part) + len(header)
            starts.append(position)
        return starts

    def _starts_by_prompt(self, conversation: Conversation, rendered: str) -> list[int]:
        """Return turn starts found by rendering the prompt of each: slower but always right."""
        starts = []
        for index in conversation.turns:
            prompt = without_open_thinking(self._render(conversation, index, prompt=True))
            if not rendered.startswith(prompt):
                raise RowRefused(
                    f"row {conversation.id}: the chat template is not prefix-preserving, so "
                    "training and generation would see different text; use another "
                    "model.chat_template."
                )
            starts.append(len(prompt))
        return starts

    def _check_ends(self, conversation: Conversation, rendered: str, spans: list[Span]) -> None:
        """Check each turn against a rendering in which it is the last turn.

        In that rendering, only the turn's own end token can follow it.
        """
        for index, span in zip(conversation.turns, spans, strict=True):
            truncated = self._render(conversation, index + 1)
            own_span = self._span(truncated, span.start, len(truncated), conversation.id)
            # Qwen3's template trims line breaks of the last turn only.
            if answer(rendered, span).strip() != answer(truncated, own_span).strip():
                raise self._no_end_token(conversation.id)

    def _span(self, rendered: str, start: int, limit: int, row_id: str) -> Span:
        """Return a turn up to its first end token; escaped text cannot contain one."""
        positions = [(rendered.find(token, start, limit), token) for token in self._end_tokens]
        ends = [(index, token) for index, token in positions if index >= 0]
        if not ends:
            raise self._no_end_token(row_id)
        index, token = min(ends)
        return Span(start, index, index + len(token))

    def _no_end_token(self, row_id: str) -> RowRefused:
        return RowRefused(
            f"row {row_id}: the chat template writes none of {self._end_tokens} after the "
            "assistant's turn, so the model would never learn to stop; use another "
            "model.chat_template."
        )


def answer(rendered: str, span: Span) -> str:
    """Return a turn with its end token, without a leading empty thinking block."""
    return rendered[after_empty_thinking(rendered, span.start) : span.end]


def answer_after(block: str, rendered: str, span: Span) -> tuple[str, str]:
    """Return the empty thinking block before a turn ("" for none), and the turn after it.

    A block written by the template is removed together with its line breaks, so the turn is what
    the template writes after its prompt.
    """
    if block and rendered.startswith(block, span.start):
        return block, rendered[span.start + len(block) : span.end]
    return block, answer(rendered, span)
