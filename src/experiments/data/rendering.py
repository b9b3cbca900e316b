"""Render conversations with the model's chat template and tokenise them for training and test.

Each row is rendered once. Its assistant turns are located by the text that the template writes
before them; text of the row itself is escaped (see `special_token_escaping`), so it can contain
neither that text nor a special token. For each kind of row, the result is checked against the
template's generation prompt, so the text before a trained turn is the text that generation starts
from. The pieces are tokenised separately, so the prompt tokens in training and in generation are
the same. Loss is computed on assistant turns with their end-of-turn token and on nothing else,
whether or not the template marks them.

Thinking: Qwen3's template opens the last turn with an empty `<think></think>` and drops the
thinking of earlier turns. TRL's variant of it (`qwen3_training`) writes an empty block in every
turn and trains it together with the line break after it. Here every turn is treated alike: it has a
thinking block if its row has one and thinking is kept, and the line break is not trained. If models
generate with thinking off (`thinking.Mode`), all other turns follow the empty block that ends the
template's prompt, as in Qwen's own rows without thinking; that block is not trained.
"""

from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from experiments.data import call_forms, probing, tally
from experiments.data.augmentation import ToolsForm, tools_in_form
from experiments.data.conversation import CallShape, Conversation, shaped, with_ids
from experiments.data.encoded import Encoded, joined
from experiments.data.spans import TurnFinder, answer_after
from experiments.data.special_token_escaping import Guard
from experiments.data.tally import RowRefused, Tally
from experiments.data.templates import ChatTemplate, split_thinking
from experiments.data.thinking import AS_DATA, Mode
from experiments.data.tokenising import PieceTokenizer
from experiments.errors import DataError
from experiments.toolcalls.parser import CallForm

__all__ = ["Encoded", "Renderer", "Thinking"]

Row = dict[str, Any]
Thinking = Literal["keep", "drop"]
# Rows per tokenizer call: enough to use all cores, with little delay before the first result.
_BATCH_ROWS = 250
_Pieces = list[tuple[str, bool]]
_Batch = list[tuple[Row, _Pieces]]


class Renderer:
    """Renders rows with one tokenizer and its chat template."""

    def __init__(
        self,
        tokenizer: Any,
        end_ids: list[int],
        *,
        thinking: Thinking = "drop",
        tools_form: ToolsForm = "openai",
        mode: Mode = AS_DATA,
    ) -> None:
        """Analyse the chat template.

        Args:
            tokenizer: the tokenizer with the chat template in use.
            end_ids: token ids that end an assistant turn.
            thinking: whether the thinking in a row is rendered and trained, or dropped.
            tools_form: format in which the template receives tools; `as_given` also escapes their
                non-ASCII characters.
            mode: thinking mode of generation, which decides what precedes a turn without thinking.
        """
        self.mode = mode
        self._template = ChatTemplate(tokenizer, mode.variables)
        self.chat_template = tokenizer.chat_template
        self._response_template = getattr(tokenizer, "response_template", None)
        self._end_tokens: list[str] = tokenizer.convert_ids_to_tokens(end_ids)
        self._guard = Guard(tokenizer, ends=self._end_tokens, header=self._template.header)
        self._tokenizer = PieceTokenizer(tokenizer, self._guard)
        self._finder = TurnFinder(self._render, self._template.header, self._end_tokens)
        self._keep_thinking = thinking == "keep"
        self._tools_form, self._ascii_tools = tools_form, tools_form == "as_given"
        self._dropped_by_kind: dict[tuple[Any, ...], frozenset[str]] = {}

    @cached_property
    def call_shape(self) -> CallShape:
        """The input format that the template expects for calls."""
        return probing.call_shape(self._template.render, self._tools_form)

    def text(self, row: Row) -> str:
        """Return the text of a row's tokens."""
        return "".join(text for text, _ in self.pieces(row))

    def pieces(self, row: Row) -> list[tuple[str, bool]]:
        """Split a rendered row into (text, trained) in order; the last piece is the last answer.

        Raises:
            DataError: as in `encode`.
        """
        pieces = self._pieces(row, Tally())
        return [("".join(self._guard.parts(text)), trained) for text, trained in pieces]

    def turns(self, row: Row) -> list[str]:
        """Return the text of each assistant turn as `encode` tokenises it, without its end token.

        Raises:
            DataError: as in `encode`.
        """
        return [self._without_end(text) for text, _ in self.pieces(row)[1::2]]

    @cached_property
    def call_form(self) -> CallForm | None:
        """Format in which the template writes calls; None if it writes none that can be parsed."""
        return call_forms.find(self, self._response_template, self._end_tokens)

    def _without_end(self, turn: str) -> str:
        return next(
            (turn.removesuffix(end) for end in self._end_tokens if turn.endswith(end)), turn
        )

    def prompt(self, row: Row) -> list[int]:
        """Return the token ids of a conversation that ends before an assistant turn.

        Raises:
            DataError: as in `encode`.
        """
        return self.encode_prompts([row])[0].prompt_ids

    def encode_prompts(self, rows: Sequence[Row], refusals: Tally | None = None) -> list[Encoded]:
        """Tokenise conversations that end before an assistant turn; nothing is trained.

        Args:
            rows: the conversations.
            refusals: as in `encode`.

        Raises:
            DataError: as in `encode`.
        """
        # The dummy answer is discarded; it only makes the prompt take the same path as in training.
        dummy_answer = {"role": "assistant", "content": "."}
        rows_by_id = {id(row): row for row in rows}
        answered_by_id = {
            key: {**row, "messages": [*row["messages"], dummy_answer]}
            for key, row in rows_by_id.items()
        }
        row_by_answered_id = {id(row): rows_by_id[key] for key, row in answered_by_id.items()}
        return [
            Encoded(row_by_answered_id[id(e.row)], e.ids[: e.prompt_length], (), e.prompt_length)
            for e in self.encode([answered_by_id[id(row)] for row in rows], refusals)
        ]

    def with_own_prompts(self, encoded: list[Encoded], rows: Sequence[Row]) -> list[Encoded]:
        """Add the template's generation prompt to rows where it differs from the training prompt.

        Args:
            encoded: the encoded rows.
            rows: the same rows as they were passed to `encode` or `encode_prompts`.
        """
        if not self.mode.own_prompts:
            return encoded
        prompts = self._tokenizer.ids([self._own_prompt(row) for row in rows])
        return [
            e if prompt == e.prompt_ids else replace(e, own_prompt=array("i", prompt))
            for e, prompt in zip(encoded, prompts, strict=True)
        ]

    def _own_prompt(self, row: Row) -> str:
        conversation = self._escaped(row)
        ends_with_answer = conversation.messages[-1]["role"] == "assistant"
        return self._render(
            conversation, len(conversation.messages) - ends_with_answer, prompt=True
        )

    def encode(self, rows: Sequence[Row], refusals: Tally | None = None) -> list[Encoded]:
        """Tokenise rows whose last message is the assistant's.

        Args:
            rows: the rows.
            refusals: counts what is left out; rows refused by the template are counted there and
                missing from the result. If None, the first such row raises.

        Raises:
            DataError: the template drops a part of the rows, such as calls; or a row's thinking is
                kept but the template does not support thinking.
            RowRefused: the template fails on a row, does not continue its own prompt, or writes no
                end-of-turn token.
        """
        encoded: list[Encoded] = []
        pending: list[tuple[_Batch, Future[list[list[int]]]]] = []
        # The tokenizer releases the GIL, so the next rows are rendered meanwhile.
        with ThreadPoolExecutor(1) as worker:
            for start in range(0, len(rows), _BATCH_ROWS):
                batch = list(self._batch(rows[start : start + _BATCH_ROWS], refusals))
                texts = [text for _, pieces in batch for text, _ in pieces]
                pending.append((batch, worker.submit(self._tokenizer.ids, texts)))
                if len(pending) > 1:
                    encoded += _joined_rows(*pending.pop(0))
            for remaining in pending:
                encoded += _joined_rows(*remaining)
        return encoded

    def _batch(self, rows: Sequence[Row], refusals: Tally | None) -> Iterator[tuple[Row, _Pieces]]:
        """Yield the rows that the template accepts, each with its pieces."""
        for row in rows:
            try:
                yield row, self._pieces(row, refusals or Tally())
            except RowRefused as error:
                if refusals is None:
                    raise
                refusals.refuse(row, error)

    def _pieces(self, row: Row, refusals: Tally) -> _Pieces:
        """Render a row and split it; the text is still escaped."""
        conversation = self._escaped(row)
        rendered = self._render(conversation)
        spans = self._finder.spans(conversation, rendered)
        dropped = self._dropped_parts(conversation)
        pieces = []
        position = 0
        for index, span in zip(conversation.turns, spans, strict=True):
            before, turn_text = answer_after(self.mode.block, rendered, span)
            reason = self._untrained_reason(
                conversation, index, turn_text[: len(turn_text) - (span.end - span.text_end)]
            )
            if reason is not None:
                refusals.leave(reason, conversation.id)
            elif dropped and _has_text_beside_calls(conversation.messages[index]):
                refusals.leave(tally.TEXT_BESIDE_CALLS, conversation.id)
            if index in conversation.thoughts:
                before, turn_text = (
                    "",
                    self._thinking_block(conversation.thoughts[index], conversation.id) + turn_text,
                )
            pieces += [
                (rendered[position : span.start] + before, False),
                (turn_text, reason is None),
            ]
            position = span.end
        return pieces

    def _untrained_reason(
        self, conversation: Conversation, index: int, turn_text: str
    ) -> str | None:
        """Return why a turn is not trained, or None if it is."""
        message = conversation.messages[index]
        if index in conversation.flagged:
            return tally.FLAGGED
        if index in conversation.thoughts:
            return None
        # An empty turn would only teach the model to stop at once.
        if not message["content"].strip() and not message.get("tool_calls"):
            return tally.EMPTY
        return None if turn_text.strip() else tally.UNWRITTEN

    def _dropped_parts(self, conversation: Conversation) -> frozenset[str]:
        """Return what the template drops from the text of turns in conversations of this kind.

        Raises:
            DataError: it drops something that the answers depend on.
        """
        kind = conversation.kind()
        if kind not in self._dropped_by_kind:
            self._dropped_by_kind[kind] = self._find_dropped(conversation)
        dropped = self._dropped_by_kind[kind]
        if dropped_from_text := dropped - {tally.TEXT_BESIDE_CALLS}:
            raise DataError(self._dropped_message(conversation, dropped_from_text))
        return dropped

    def _find_dropped(self, conversation: Conversation) -> frozenset[str]:
        probe = probing.with_marker_texts(conversation, self._tools_form, self.call_shape)
        rendered = self._render(probe)
        return probing.dropped_by_template(probe, rendered, self._finder.spans(probe, rendered))

    def _dropped_message(self, conversation: Conversation, dropped: frozenset[str]) -> str:
        """Return the error message for a template that drops parts of a row."""
        condition, system = "", [{"role": "system", "content": "SYSTEM"}]
        remedy = f"{tally.remedy()} that includes them"
        if conversation.messages[0]["role"] != "system":
            with_system = replace(conversation, messages=system + conversation.messages)
            with suppress(RowRefused):
                if not self._find_dropped(with_system) & dropped:
                    condition = " without a system message"
                    setting = "data.system_prompt=unify data.unified_system_prompt=TEXT"
                    remedy = f"set {setting}, or {remedy}"
        return (
            f"row {conversation.id}: the chat template omits "
            f"{' and '.join(sorted(dropped))}{condition}, so the model would not be trained on the "
            f"complete row; {remedy}, or use rows without them."
        )

    def _escaped(self, row: Row) -> Conversation:
        shape = self.call_shape
        if shape.reads_ids:
            row = with_ids(row, shape)
        messages = []
        thoughts = {}
        flagged = set()
        for index, message in enumerate(row["messages"]):
            if message["role"] == "assistant":
                answer, thought = split_thinking(message)
                if not answer.pop("train", True):
                    flagged.add(index)
                content = self._guard.guarded(answer.pop("content"), own=True)
                messages.append(shaped({**self._guard.guarded(answer), "content": content}, shape))
                if self._keep_thinking and thought is not None:
                    thoughts[index] = self._guard.guarded(thought, own=True)
            else:
                escaped = self._guard.guarded(message)
                messages.append(escaped if escaped.get("content") else {**escaped, "content": ""})
        tools = self._guard.guarded(tools_in_form(row.get("tools") or [], self._tools_form))
        return Conversation(str(row["id"]), messages, tools, thoughts, frozenset(flagged))

    def _thinking_block(self, thought: str, row_id: str) -> str:
        surrounding = self._template.thinking
        if surrounding is None:
            raise DataError(
                f"row {row_id}: it has thinking and data.thinking=keep, but the chat template does "
                "not support thinking; use data.thinking=drop or another model.chat_template."
            )
        return surrounding[0] + thought + surrounding[1]

    def _render(
        self, conversation: Conversation, message_count: int | None = None, *, prompt: bool = False
    ) -> str:
        try:
            text = self._template.render(
                conversation.messages[:message_count], conversation.tools, prompt=prompt
            )
        except Exception as error:  # a template is a program: it may raise anything
            raise RowRefused(
                f"row {conversation.id}: the chat template raises an error: {error}"
            ) from error
        return self._guard.with_ascii(text, conversation.tools) if self._ascii_tools else text


def _has_text_beside_calls(message: Row) -> bool:
    return bool(message.get("tool_calls") and message["content"].strip())


def _joined_rows(batch: _Batch, tokenised: "Future[list[list[int]]]") -> Iterator[Encoded]:
    ids = iter(tokenised.result())
    return (
        joined(row, [next(ids) for _ in pieces], [trained for _, trained in pieces])
        for row, pieces in batch
    )
