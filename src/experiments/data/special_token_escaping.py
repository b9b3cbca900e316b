"""Escape special tokens in the text of rows, so that neither template nor tokenizer sees them.

The text of a special token inside a row is broken up with a private-use character. The template
passes the character through like any other; afterwards the text is split there and the parts are
tokenised separately, so that no part can be the token. The character itself is escaped if a row
contains it, so the tokenised text always equals the original text.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

THINK = ("<think>", "</think>")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_PRIVATE_USE = range(0xE0F0, 0xF8FF)


class Guard:
    """Escapes row text before rendering and restores it afterwards."""

    def __init__(self, tokenizer: Any, *, ends: Iterable[str], header: str) -> None:
        """Collect what must not appear in the text of a row.

        Args:
            tokenizer: its added tokens are the special tokens to escape.
            ends: tokens that end an assistant turn, special or not.
            header: text that the template writes before an assistant turn, "" if unknown; rows may
                contain it as text, but it must not be mistaken for the start of a turn.
        """
        added_tokens = list(tokenizer.added_tokens_decoder.values())
        # Runs of blanks, which some vocabularies add, have no special meaning.
        control = {str(token) for token in added_tokens if str(token).strip()} | set(ends)
        special = {str(token) for token in added_tokens if token.special and str(token).strip()}
        self._escape_mark = _unused_character([*control, header])
        self._token_break, self._phrase_break = self._escape_mark + "1", self._escape_mark + "2"
        assistant_control = special | set(ends) | (control & set(THINK))
        self._control_pattern, self._assistant_pattern = (
            _pattern_of(control),
            _pattern_of(assistant_control),
        )
        phrases = {header.strip(), *THINK} - control - {""}
        self._phrases = sorted(phrases, key=len, reverse=True)
        self._first_characters = sorted(
            {text[0] for text in [*control, *phrases]} | {self._escape_mark}
        )

    def guarded(self, value: Any, *, own: bool = False) -> Any:
        """Return any JSON value with its text escaped, or the value itself if nothing needs it.

        Args:
            value: text, or lists and objects with text in keys and values; never modified.
            own: whether this is the assistant's own content; markup in it that is not a special
                token, such as `<tool_call>`, is written by the model and stays a token.
        """
        return self._escaped_value(value, own) if self._may_need_escaping(value) else value

    def parts(self, rendered: str) -> list[str]:
        """Split rendered text where special tokens were broken; parts are tokenised separately."""
        if self._escape_mark not in rendered:
            return [rendered]
        return [self._unescaped(part) for part in rendered.split(self._token_break)]

    def with_ascii(self, rendered: str, values: list[Any]) -> str:
        """Return rendered text with JSON values printed as `json.dumps` prints them.

        Templates print non-ASCII characters unescaped; BFCL escapes them.

        Args:
            rendered: output of a template.
            values: escaped values; the first occurrence of each is replaced, if there is one.
        """
        for value in values:
            unescaped = json.dumps(value, ensure_ascii=False)
            if not unescaped.isascii():
                rendered = rendered.replace(
                    unescaped, _NON_ASCII.sub(self._json_escaped, unescaped), 1
                )
        return rendered

    def _json_escaped(self, match: re.Match[str]) -> str:
        character = match.group()
        return character if character == self._escape_mark else json.dumps(character)[1:-1]

    def _unescaped(self, part: str) -> str:
        return part.replace(self._phrase_break, "").replace(
            self._escape_mark + "0", self._escape_mark
        )

    def _may_need_escaping(self, value: Any) -> bool:
        """Return whether any text has the first character of something to escape; few rows do."""
        # Loops, since any() doubles the time per row here.
        if isinstance(value, str):
            for character in self._first_characters:
                if character in value:
                    return True
        elif isinstance(value, dict):
            for key, item in value.items():
                if self._may_need_escaping(key) or self._may_need_escaping(item):
                    return True
        elif isinstance(value, list):
            for item in value:
                if self._may_need_escaping(item):
                    return True
        return False

    def _escaped_value(self, value: Any, own: bool) -> Any:
        if isinstance(value, str):
            text = value.replace(self._escape_mark, self._escape_mark + "0")
            text = (self._assistant_pattern if own else self._control_pattern).sub(
                self._broken_token, text
            )
            for phrase in self._phrases:
                text = text.replace(phrase, phrase[0] + self._phrase_break + phrase[1:])
            return text
        if isinstance(value, list):
            return [self._escaped_value(item, own) for item in value]
        if isinstance(value, dict):
            return {
                self._escaped_value(k, own): self._escaped_value(v, own) for k, v in value.items()
            }
        return value

    def _broken_token(self, match: re.Match[str]) -> str:
        token = match.group()
        return token[0] + self._token_break + token[1:]


def _pattern_of(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of literal words, longest first; a pattern that never matches if empty."""
    ordered = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or "(?!)")


def _unused_character(texts: list[str]) -> str:
    used = "".join(texts)
    return next(chr(code) for code in _PRIVATE_USE if chr(code) not in used)
