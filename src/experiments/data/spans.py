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
        self._render, self._header, self._ends = render, header, ends
        self._scannable: dict[tuple[Any, ...], bool] = {}

    def spans(self, conversation: Conversation, whole: str) -> list[Span]:
        """Return the span of every assistant turn in the rendered conversation.

        Raises:
            RowRefused: the text does not begin with the prompts of its turns, or a turn has no
                end-of-turn token of its own.
        """
        kind = conversation.kind()
        scannable = self._scannable.get(kind)
        starts = None if scannable is False else self._scanned(conversation, whole)
        checked = scannable is True and starts is not None
        if starts is None or not checked:
            asked = self._asked(conversation, whole)
            self._scannable.setdefault(kind, starts == asked)
            starts = asked
        limits = [*starts[1:], len(whole)]
        spans = [
            self._span(whole, start, limit, conversation.id)
            for start, limit in zip(starts, limits, strict=True)
        ]
        if not checked:
            self._check_ends(conversation, whole, spans)
        return spans

    def _scanned(self, conversation: Conversation, whole: str) -> list[int] | None:
        """Return turn starts found by the text before them; None if ambiguous."""
        header = self._header
        if not header:
            return None
        parts = whole.split(header)
        if len(parts) != len(conversation.turns) + 1:
            return None
        starts = []
        at = 0
        for part in parts[:-1]:
            at += len(part) + len(header)
            starts.append(at)
        return starts

    def _asked(self, conversation: Conversation, whole: str) -> list[int]:
        """Return turn starts found by rendering the prompt of each: slower but always right."""
        starts = []
        for i in conversation.turns:
            prompt = without_open_thinking(self._render(conversation, i, prompt=True))
            if not whole.startswith(prompt):
                raise RowRefused(
                    f"row {conversation.id}: the chat template is not prefix-preserving, so "
                    "training and generation would see different text; use another "
                    "model.chat_template."
                )
            starts.append(len(prompt))
        return starts

    def _check_ends(self, conversation: Conversation, whole: str, spans: list[Span]) -> None:
        """Check each turn against a rendering in which it is the last turn.

        In that rendering, only the turn's own end token can follow it.
        """
        for i, span in zip(conversation.turns, spans, strict=True):
            alone = self._render(conversation, i + 1)
            own = self._span(alone, span.start, len(alone), conversation.id)
            # Qwen3's template trims line breaks of the last turn only.
            if answer(whole, span).strip() != answer(alone, own).strip():
                raise self._endless(conversation.id)

    def _span(self, whole: str, start: int, limit: int, row_id: str) -> Span:
        """Return a turn up to its first end token; escaped text cannot contain one."""
        found = [(whole.find(token, start, limit), token) for token in self._ends]
        ends = [(index, token) for index, token in found if index >= 0]
        if not ends:
            raise self._endless(row_id)
        index, token = min(ends)
        return Span(start, index, index + len(token))

    def _endless(self, row_id: str) -> RowRefused:
        return RowRefused(
            f"row {row_id}: the chat template writes none of {self._ends} after the assistant's "
            "turn, so the model would never learn to stop; use another model.chat_template."
        )


def answer(whole: str, span: Span) -> str:
    """Return a turn with its end token, without a leading empty thinking block."""
    return whole[after_empty_thinking(whole, span.start) : span.end]


def answer_after(block: str, whole: str, span: Span) -> tuple[str, str]:
    """Return the empty thinking block before a turn ("" for none), and the turn after it.

    A block written by the template is removed together with its line breaks, so the turn is what
    the template writes after its prompt.
    """
    if block and whole.startswith(block, span.start):
        return block, whole[span.start + len(block) : span.end]
    return block, answer(whole, span)
