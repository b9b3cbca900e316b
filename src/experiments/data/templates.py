"""Messages and tools -> the text of a chat template, and what can be learned about a template.

What a template writes before an assistant's turn, and how it writes thinking, is found out once by
rendering a conversation made for it; nothing is known of any template by name.
"""

import re
from functools import cached_property
from typing import Any

Message = dict[str, Any]

_OPEN_THINK = re.compile(r"<think>\s*(?:</think>\s*)?$")
_EMPTY_THINK = re.compile(r"\s*<think>\s*</think>\n*")
_LEADING_THINK = re.compile(r"\s*<think>(.*?)</think>\n*", re.DOTALL)
# The names under which messages carry thinking; the same as in transformers' templates.
_THINKING_KEYS = ("reasoning_content", "thinking", "reasoning")
_ASKED: list[Message] = [{"role": "user", "content": "ASKED"}]
_DAY = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24", "%A": "Friday"}
# A shorter header, or one that is a mere word, is no mark that a turn could be found by.
_SHORTEST_HEADER = 4
# Templates that print the day of the call get the one that Llama's fall back on: otherwise rows
# would be other tokens every day, and a model would be asked with another day than it learned.
_DATE = "".join(
    [
        "{% macro strftime_now(format) -%}{{ format",
        *(f" | replace('{code}', '{text}')" for code, text in _DAY.items()),
        " }}{%- endmacro %}{{ '' }}",
    ]
)


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: Any, variables: dict[str, Any] | None = None) -> None:
        """Take a tokenizer with its template, and what the template is given in every call."""
        self._tokenizer = tokenizer
        self._variables = variables or {}

    def render(self, messages: list[Message], tools: list[Any], *, prompt: bool = False) -> str:
        """Render a conversation, with the generation prompt if asked for.

        Raises:
            Exception: whatever the template raises; it is a program.
        """
        rendered = self._tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            add_generation_prompt=prompt,
            tokenize=False,
            chat_template=self._dated,
            **self._variables,
        )
        return str(rendered)

    @cached_property
    def _dated(self) -> str | None:
        """The template with a fixed day; None where it is used as it is."""
        own = self._tokenizer.chat_template
        return _DATE + own if isinstance(own, str) and "strftime_now" in own else None

    @cached_property
    def header(self) -> str:
        """What is written before an assistant's turn, without thinking; "" if there is none.

        Some templates end their generation prompt with `<think>`: a thinking block, also the
        beginning of one, belongs to the turn.
        """
        try:
            asked = self.render(_ASKED, [])
            waiting = self.render(_ASKED, [], prompt=True)
        except Exception:  # the row that is rendered next names the reason
            return ""
        header = without_open_thinking(waiting[len(asked) :]) if waiting.startswith(asked) else ""
        marks = header.strip()
        return header if len(marks) >= _SHORTEST_HEADER and not marks.isalpha() else ""

    @cached_property
    def thinking(self) -> tuple[str, str] | None:
        """What is written before and after an assistant's thinking; None if it has no place.

        A template that knows no thinking but writes content as it is gives it the tags of Qwen3.
        """
        for answer in (
            {"content": "ANSWER", "reasoning_content": "THOUGHT"},
            {"content": "<think>\nTHOUGHT\n</think>\n\nANSWER"},
        ):
            try:
                text = self.render([*_ASKED, {"role": "assistant", **answer}], [])
            except Exception:
                continue
            before, thought, rest = self._answered(text).partition("THOUGHT")
            after, answered, _ = rest.partition("ANSWER")
            if thought and answered and "<think>" in before and "</think>" in after:
                return before, after
        return None

    def _answered(self, text: str) -> str:
        """Return the answer to `_ASKED` in a rendered text; "" where no prompt precedes it."""
        if self.header:
            return text.partition(self.header)[2]
        waiting = without_open_thinking(self.render(_ASKED, [], prompt=True))
        return text.removeprefix(waiting) if text.startswith(waiting) else ""


def without_open_thinking(prompt: str) -> str:
    """Return a prompt without the thinking block, or the beginning of one, at its end."""
    return _OPEN_THINK.sub("", prompt)


def after_empty_thinking(text: str, start: int) -> int:
    """Return the index after an empty thinking block at `start`; `start` where there is none."""
    found = _EMPTY_THINK.match(text, start)
    return found.end() if found else start


def split_thinking(message: Message) -> tuple[Message, str | None]:
    """Take the thinking out of an assistant's message: `reasoning_content`, or tags at the start.

    The message given is not changed. An empty `reasoning_content` counts as none.

    >>> split_thinking({"role": "assistant", "content": "<think>hm</think>yes"})
    ({'role': 'assistant', 'content': 'yes'}, 'hm')
    """
    thought = next((message[key] for key in _THINKING_KEYS if message.get(key)), None)
    content = message.get("content") or ""
    bare = {k: v for k, v in message.items() if k not in _THINKING_KEYS} | {"content": content}
    found = _LEADING_THINK.match(content) if "<think>" in content else None
    if found:
        bare["content"] = content[found.end() :]
        thought = found.group(1) if thought is None else thought
    return bare, None if thought is None else str(thought).strip("\n")
