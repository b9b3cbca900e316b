"""Render messages and tools with a chat template, and detect the template's conventions.

The text that a template writes before an assistant turn, and its format for thinking, are detected
once by rendering a probe conversation; no template is known by name.
"""

import re
from functools import cached_property
from typing import Any

Message = dict[str, Any]

_OPEN_THINK = re.compile(r"<think>\s*(?:</think>\s*)?$")
_EMPTY_THINK = re.compile(r"\s*<think>\s*</think>\n*")
_LEADING_THINK = re.compile(r"\s*<think>(.*?)</think>\n*", re.DOTALL)
# Message keys for thinking, the same as in transformers' templates.
_THINKING_KEYS = ("reasoning_content", "thinking", "reasoning")
_QUESTION: list[Message] = [{"role": "user", "content": "ASKED"}]
_FIXED_DATE = {
    "%d": "26",
    "%b": "Jul",
    "%B": "July",
    "%m": "07",
    "%Y": "2024",
    "%y": "24",
    "%A": "Friday",
}
# A shorter header, or one that is a plain word, does not identify a turn.
_MIN_HEADER_LENGTH = 4
# Templates that print the current day get the date that Llama's templates fall back to: otherwise
# rows would have other tokens every day, and the day in generation would differ from training.
_DATE_MACRO = "".join(
    [
        "{% macro strftime_now(format) -%}{{ format",
        *(f" | replace('{code}', '{text}')" for code, text in _FIXED_DATE.items()),
        " }}{%- endmacro %}{{ '' }}",
    ]
)


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: Any, variables: dict[str, Any] | None = None) -> None:
        """Store a tokenizer with its template, and the variables passed in every call."""
        self._tokenizer = tokenizer
        self._variables = variables or {}

    def render(self, messages: list[Message], tools: list[Any], *, prompt: bool = False) -> str:
        """Render a conversation, with the generation prompt if `prompt` is set.

        Raises:
            Exception: anything that the template raises, since it is a program.
        """
        rendered = self._tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            add_generation_prompt=prompt,
            tokenize=False,
            chat_template=self._dated_template,
            **self._variables,
        )
        return str(rendered)

    @cached_property
    def _dated_template(self) -> str | None:
        """The template with a fixed date; None if it is used unchanged."""
        template = self._tokenizer.chat_template
        return (
            _DATE_MACRO + template
            if isinstance(template, str) and "strftime_now" in template
            else None
        )

    @cached_property
    def header(self) -> str:
        """The text before an assistant turn, without thinking; "" if there is none.

        Some templates end their generation prompt with `<think>`. A thinking block, or the start of
        one, belongs to the turn and not to the header.
        """
        try:
            question = self.render(_QUESTION, [])
            prompt = self.render(_QUESTION, [], prompt=True)
        except Exception:  # rendering the next row reports the reason
            return ""
        header = (
            without_open_thinking(prompt[len(question) :]) if prompt.startswith(question) else ""
        )
        stripped = header.strip()
        return header if len(stripped) >= _MIN_HEADER_LENGTH and not stripped.isalpha() else ""

    @cached_property
    def thinking(self) -> tuple[str, str] | None:
        """The text before and after an assistant's thinking; None if thinking is not supported.

        A template that does not know thinking but prints content unchanged gets Qwen3's tags.
        """
        for answer in (
            {"content": "ANSWER", "reasoning_content": "THOUGHT"},
            {"content": "<think>\nTHOUGHT\n</think>\n\nANSWER"},
        ):
            try:
                text = self.render([*_QUESTION, {"role": "assistant", **answer}], [])
            except Exception:
                continue
            before, thought, text_after = self._answer_text(text).partition("THOUGHT")
            after, answer_marker, _ = text_after.partition("ANSWER")
            if thought and answer_marker and "<think>" in before and "</think>" in after:
                return before, after
        return None

    def _answer_text(self, text: str) -> str:
        """Return the answer to `_QUESTION` in a rendered text; "" if no prompt precedes it."""
        if self.header:
            return text.partition(self.header)[2]
        prompt = without_open_thinking(self.render(_QUESTION, [], prompt=True))
        return text.removeprefix(prompt) if text.startswith(prompt) else ""


def without_open_thinking(prompt: str) -> str:
    """Return a prompt without a thinking block, or the start of one, at its end."""
    return _OPEN_THINK.sub("", prompt)


def after_empty_thinking(text: str, start: int) -> int:
    """Return the index after an empty thinking block at `start`, or `start` if there is none."""
    match = _EMPTY_THINK.match(text, start)
    return match.end() if match else start


def split_thinking(message: Message) -> tuple[Message, str | None]:
    """Split the thinking off an assistant message: `reasoning_content`, or leading tags.

    The message is not modified. An empty `reasoning_content` counts as no thinking.

    >>> split_thinking({"role": "assistant", "content": "<think>hm</think>yes"})
    ({'role': 'assistant', 'content': 'yes'}, 'hm')
    """
    thought = next((message[key] for key in _THINKING_KEYS if message.get(key)), None)
    content = message.get("content") or ""
    without_thinking = {k: v for k, v in message.items() if k not in _THINKING_KEYS} | {
        "content": content
    }
    match = _LEADING_THINK.match(content) if "<think>" in content else None
    if match:
        without_thinking["content"] = content[match.end() :]
        thought = match.group(1) if thought is None else thought
    return without_thinking, None if thought is None else str(thought).strip("\n")
