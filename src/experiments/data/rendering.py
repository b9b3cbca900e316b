"""Conversation -> token ids, with the model's own chat template; one path for training and test.

A row is rendered once. Its assistant turns are found by the text that the template writes before
them; text of the row itself is guarded (see `guarding`) and can hold neither that text nor a
control token. Each kind of row is held against the template's own generation prompt, so the text
before a trained turn is the text that generation starts from. The pieces are tokenised one by one,
so the tokens a model is trained after are the tokens it is asked with. Trained are the assistant's
turns with their end-of-turn token, nothing else, whether or not the template marks them.

Thinking: Qwen3's template opens the last turn with an empty `<think></think>`, drops the thinking
of earlier turns, and TRL's variant of it (`qwen3_training`) writes and trains an empty block in
every turn and the line break after it. Here a turn has a thinking block where its row has one and
thinking is kept, in every turn alike, and nowhere else; the line break is not trained.
"""

from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from experiments.answers import CallForm
from experiments.data import call_forms
from experiments.data.guarding import Guard
from experiments.data.shaping import ToolsForm, tools_in_form
from experiments.data.templates import (
    ChatTemplate,
    Message,
    after_empty_thinking,
    split_thinking,
    without_open_thinking,
)
from experiments.errors import DataError

Row = dict[str, Any]
Thinking = Literal["keep", "drop"]
# Rows tokenised in one call: enough for all cores, and little of the first is waited for.
_BATCH_ROWS = 250
_Batch = list[tuple[Row, list[tuple[str, bool]]]]


@dataclass(frozen=True)
class Encoded:
    """A row as tokens, 4 bytes each."""

    row: Row
    ids: "array[int]"
    """Token ids of the whole row, shape (L,)."""
    trained: tuple[tuple[int, int], ...]
    """Where trained tokens lie: (first, behind the last), in order."""
    prompt_length: int
    """Number of tokens before the last assistant turn."""

    @property
    def input_ids(self) -> list[int]:
        """Shape (L,)."""
        return self.ids.tolist()

    @property
    def labels(self) -> list[int]:
        """Shape (L,): the token where it is trained, else -100."""
        labels = [-100] * len(self.ids)
        for first, behind in self.trained:
            labels[first:behind] = self.ids[first:behind]
        return labels

    @property
    def prompt_ids(self) -> list[int]:
        """Everything before the last assistant turn's first token."""
        return self.ids[: self.prompt_length].tolist()

    @property
    def trained_tokens(self) -> int:
        """How many tokens are trained."""
        return sum(behind - first for first, behind in self.trained)

    @property
    def answer_tokens(self) -> int:
        """Length of the last assistant turn, end-of-turn included; 0 where it is not trained."""
        return sum(b - a for a, b in self.trained if a >= self.prompt_length)


@dataclass(frozen=True)
class _Safe:
    """A row ready for the template: guarded, and without thinking."""

    id: str
    messages: list[Message]
    tools: list[Any]
    thoughts: dict[int, str]
    """Index of a message -> its guarded thinking, where that is kept."""

    @property
    def turns(self) -> list[int]:
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]

    def kind(self) -> tuple[Any, ...]:
        """What a template may tell rows apart by: two rows of one kind are cut alike."""
        kinds = [
            (m["role"], bool(m["content"].strip()), bool(m.get("tool_calls")))
            for m in self.messages
        ]
        return bool(self.tools), kinds[0], kinds[-1], frozenset(pairwise(kinds))


class Renderer:
    """Renders rows with one tokenizer and its template."""

    def __init__(
        self,
        tokenizer: Any,
        end_ids: list[int],
        *,
        thinking: Thinking = "drop",
        tools_form: ToolsForm = "openai",
    ) -> None:
        """Learn the template.

        Args:
            tokenizer: with the chat template that is used.
            end_ids: tokens that end an assistant turn.
            thinking: whether the thinking of a row is rendered and trained, or left out.
            tools_form: how tools are given to the template; `as_given` also escapes what is not
                ASCII in them.
        """
        self._tokenizer = tokenizer
        self._template = ChatTemplate(tokenizer)
        self.chat_template = tokenizer.chat_template
        self._ends: list[str] = tokenizer.convert_ids_to_tokens(end_ids)
        self._guard = Guard(tokenizer, ends=self._ends, header=self._template.header)
        self._keep = thinking == "keep"
        self._tools_form, self._escapes = tools_form, tools_form == "as_given"
        self._scannable: dict[tuple[Any, ...], bool] = {}

    def text(self, row: Row) -> str:
        """Return the text that a row's tokens spell."""
        return "".join(text for text, _ in self.pieces(row))

    def pieces(self, row: Row) -> list[tuple[str, bool]]:
        """Cut a rendered row into (text, trained), in order; the last is the last answer.

        Raises:
            DataError: as `encode`.
        """
        pieces = self._pieces(row)
        return [("".join(self._guard.parts(text)), trained) for text, trained in pieces]

    def turns(self, row: Row) -> list[str]:
        """Return the text of each assistant turn as `encode` tokenises it, without its end token.

        Raises:
            DataError: as `encode`.
        """
        return [self._without_end(text) for text, _ in self.pieces(row)[1::2]]

    @cached_property
    def call_form(self) -> CallForm | None:
        """How the template writes calls; None if it writes none that can be read."""
        own = getattr(self._tokenizer, "response_template", None)
        return call_forms.find(self, own, self._ends)

    def prompt(self, row: Row) -> list[int]:
        """Return the token ids of a conversation that waits for the assistant's turn.

        Raises:
            DataError: as `encode`.
        """
        return self.encode_prompts([row])[0].prompt_ids

    def encode_prompts(self, rows: Sequence[Row]) -> list[Encoded]:
        """Tokenise conversations that wait for the assistant's turn; nothing is trained.

        Raises:
            DataError: as `encode`.
        """
        # The answer is never looked at: its only use is the way that training goes.
        dot = {"role": "assistant", "content": "."}
        answered = self.encode([{**row, "messages": [*row["messages"], dot]} for row in rows])
        return [
            Encoded(row, e.ids[: e.prompt_length], (), e.prompt_length)
            for row, e in zip(rows, answered, strict=True)
        ]

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        """Tokenise rows whose last message is the assistant's.

        Raises:
            DataError: the template fails on a row, does not continue its own prompt, or writes
                no end-of-turn token; a row's thinking is kept, but the template has no place for
                it.
        """
        encoded: list[Encoded] = []
        waiting: list[tuple[_Batch, Future[list[list[int]]]]] = []
        # The tokenizer works without the interpreter's lock: the next rows are rendered meanwhile.
        with ThreadPoolExecutor(1) as worker:
            for at in range(0, len(rows), _BATCH_ROWS):
                batch = [(row, self._pieces(row)) for row in rows[at : at + _BATCH_ROWS]]
                texts = [text for _, pieces in batch for text, _ in pieces]
                waiting.append((batch, worker.submit(self._tokens, texts)))
                if len(waiting) > 1:
                    encoded += _joined_rows(*waiting.pop(0))
            for last in waiting:
                encoded += _joined_rows(*last)
        return encoded

    def _pieces(self, row: Row) -> list[tuple[str, bool]]:
        """Render a row and cut it; the text is still guarded."""
        safe = self._safe(row)
        whole = self._render(safe)
        pieces = []
        at = 0
        for i, (start, end) in zip(safe.turns, self._spans(safe, whole), strict=True):
            message = safe.messages[i]
            answer = _answer(whole, start, end)
            if i in safe.thoughts:
                answer = self._thinking(safe.thoughts[i], safe.id) + answer
            # An empty turn would teach nothing but silence.
            said = message["content"].strip() or message.get("tool_calls") or i in safe.thoughts
            pieces += [(whole[at:start], False), (answer, bool(said))]
            at = end
        return pieces

    def _safe(self, row: Row) -> _Safe:
        messages = []
        thoughts = {}
        for i, message in enumerate(row["messages"]):
            if message["role"] == "assistant":
                bare, thought = split_thinking(message)
                content = self._guard.guarded(bare.pop("content"), own=True)
                messages.append({**self._guard.guarded(bare), "content": content})
                if self._keep and thought is not None:
                    thoughts[i] = self._guard.guarded(thought, own=True)
            else:
                safe = self._guard.guarded(message)
                messages.append(safe if safe.get("content") else {**safe, "content": ""})
        tools = self._guard.guarded(tools_in_form(row.get("tools") or [], self._tools_form))
        return _Safe(str(row["id"]), messages, tools, thoughts)

    def _thinking(self, thought: str, row_id: str) -> str:
        around = self._template.thinking
        if around is None:
            raise DataError(
                f"row {row_id}: it has thinking and data.thinking=keep, but the chat template has "
                "no place for it; use data.thinking=drop or another model.chat_template."
            )
        return around[0] + thought + around[1]

    def _render(self, safe: _Safe, upto: int | None = None, *, prompt: bool = False) -> str:
        try:
            text = self._template.render(safe.messages[:upto], safe.tools, prompt=prompt)
        except Exception as error:  # a template is a program: it may raise anything
            raise DataError(f"row {safe.id}: the chat template fails on it: {error}") from error
        return self._guard.with_ascii(text, safe.tools) if self._escapes else text

    def _spans(self, safe: _Safe, whole: str) -> list[tuple[int, int]]:
        """Return (start, end) of every assistant turn in the rendered row."""
        kind = safe.kind()
        scannable = self._scannable.get(kind)
        starts = None if scannable is False else self._scanned(safe, whole)
        checked = scannable is True and starts is not None
        if starts is None or not checked:
            asked = self._asked(safe, whole)
            self._scannable.setdefault(kind, starts == asked)
            starts = asked
        limits = [*starts[1:], len(whole)]
        spans = [
            (start, self._end_of_turn(whole, start, limit, safe.id))
            for start, limit in zip(starts, limits, strict=True)
        ]
        if not checked:
            self._check_ends(safe, whole, spans)
        return spans

    def _scanned(self, safe: _Safe, whole: str) -> list[int] | None:
        """Find where turns start by what the template writes before them; None if unclear."""
        header = self._template.header
        if not header:
            return None
        parts = whole.split(header)
        if len(parts) != len(safe.turns) + 1:
            return None
        starts = []
        at = 0
        for part in parts[:-1]:
            at += len(part) + len(header)
            starts.append(at)
        return starts

    def _asked(self, safe: _Safe, whole: str) -> list[int]:
        """Find where turns start by rendering the prompt of each: slower, and always right."""
        starts = []
        for i in safe.turns:
            prompt = without_open_thinking(self._render(safe, i, prompt=True))
            if not whole.startswith(prompt):
                raise DataError(
                    f"row {safe.id}: the chat template is not prefix-preserving, so what is "
                    "trained would not be what is generated; use another model.chat_template."
                )
            starts.append(len(prompt))
        return starts

    def _check_ends(self, safe: _Safe, whole: str, spans: list[tuple[int, int]]) -> None:
        """Hold each turn against the same turn as the last one, where only its own end can be."""
        for i, (start, end) in zip(safe.turns, spans, strict=True):
            alone = self._render(safe, i + 1)
            own_end = self._end_of_turn(alone, start, len(alone), safe.id)
            # Qwen3's template trims line breaks of the last turn only.
            if _answer(whole, start, end).strip() != _answer(alone, start, own_end).strip():
                raise self._endless(safe.id)

    def _end_of_turn(self, whole: str, start: int, limit: int, row_id: str) -> int:
        """Return the index after the first end token; guarded text cannot hold one itself."""
        found = [(whole.find(token, start, limit), token) for token in self._ends]
        ends = [(index, token) for index, token in found if index >= 0]
        if not ends:
            raise self._endless(row_id)
        index, token = min(ends)
        return index + len(token)

    def _without_end(self, turn: str) -> str:
        return next((turn.removesuffix(end) for end in self._ends if turn.endswith(end)), turn)

    def _endless(self, row_id: str) -> DataError:
        return DataError(
            f"row {row_id}: the chat template writes none of {self._ends} after the "
            "assistant's turn, so the model would never learn to stop."
        )

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Tokenise texts in one call; the parts around a broken control token apart."""
        parts = [self._guard.parts(text) for text in texts]
        flat = [part for text_parts in parts for part in text_parts]
        found = iter(self._ids(flat) if flat else [])
        return [
            next(found) if len(of_text) == 1 else [i for _ in of_text for i in next(found)]
            for of_text in parts
        ]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:  # a tokenizer written in Python
            ids = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            return list(ids)
        # As the tokenizer's own call does, which also works out offsets that nobody reads here.
        backend.no_padding()
        backend.no_truncation()
        return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _answer(whole: str, start: int, end: int) -> str:
    return whole[after_empty_thinking(whole, start) : end]


def _joined_rows(batch: _Batch, tokens: "Future[list[list[int]]]") -> Iterator[Encoded]:
    ids = iter(tokens.result())
    return (_joined(row, [trained for _, trained in pieces], ids) for row, pieces in batch)


def _joined(row: Row, trained: list[bool], ids: Iterator[list[int]]) -> Encoded:
    whole = array("i")
    spans = []
    start = 0
    for is_trained in trained:
        start = len(whole)
        whole.fromlist(next(ids))  # 13 us for 545 ids, extend takes 32
        if is_trained:
            spans.append((start, len(whole)))
    return Encoded(row, whole, tuple(spans), start)
