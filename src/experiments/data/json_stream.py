"""Parse JSON objects from bytes with a size limit, without loading a large array into memory.

A row must be strict JSON in UTF-8. NaN, Infinity, NUL bytes and unpaired surrogates are refused
here, because each of them would fail later, in a tokenizer or when a file is written, without
naming the row. An escaped NUL inside a text is data and is kept.
"""

import codecs
import json
import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any, NoReturn

from experiments.errors import DataError

MAX_ROW_BYTES = 2_000_000
"""Maximum size of a row in bytes of text. 2 MB are about 500,000 tokens, ten times what any model
here can be trained on. A larger row is a damaged line or a file stored in one field, and rendering
it would take minutes before it fails."""
_CHUNK_BYTES = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE_ESCAPE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


DECODER = json.JSONDecoder(parse_constant=_no_constant)


def too_large(where: str) -> str:
    """Return the error message for a row above the size limit."""
    return (
        f"{where}: the row exceeds {MAX_ROW_BYTES // 10**6} MB, too large for a conversation; "
        "remove it from the file."
    )


def decode(line: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in a line.

    Raises:
        DataError: the line is above the size limit, not UTF-8, not JSON or not an object.
    """
    if len(line.rstrip()) > MAX_ROW_BYTES:
        raise DataError(too_large(where))
    _check_nul(line, where)
    try:
        text = line.decode()
        value = DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise DataError(_not_utf8(where, error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: not JSON ({_parse_error_text(error)}); each line must be one JSON object."
        ) from error
    return _checked_object(value, text, where)


def array_items(stream: BufferedIOBase, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("<name>, row <n>", object) for each element of the JSON array in a stream.

    Raises:
        DataError: the array is not closed, something follows it, or an element is invalid as in
            `decode`.
    """
    window = _CharacterWindow(stream, name)
    window.expect("[")
    if window.peek() == "]":
        window.finish()
        return
    while True:
        yield window.where, window.member()
        window.row += 1
        if window.peek() == "]":
            window.finish()
            return
        window.expect(",")


class _CharacterWindow:
    """A window on a stream's characters that starts at the first unconsumed one."""

    def __init__(self, stream: BufferedIOBase, name: str) -> None:
        self._stream = stream
        self._name = name
        self._characters = codecs.getincrementaldecoder("utf-8-sig")()
        self._window = ""
        self._position = 0
        self._at_end = False
        self.row = 1

    @property
    def where(self) -> str:
        return f"{self._name}, row {self.row}"

    def peek(self) -> str:
        """Return the next character that is not white space, or "" at the end."""
        while True:
            whitespace = _SPACE.match(self._window, self._position)
            assert whitespace is not None, "the pattern matches the empty text"
            self._position = whitespace.end()
            if self._position < len(self._window):
                return self._window[self._position]
            if not self._read_more():
                return ""

    def expect(self, character: str) -> None:
        actual = self.peek()
        if actual != character:
            description = f"'{actual}'" if actual else "the end of the file"
            raise DataError(
                f"{self.where}: not JSON ({description} instead of '{character}'); the file is "
                "truncated or not an array of objects."
            )
        self._position += 1

    def finish(self) -> None:
        self.expect("]")
        if self.peek():
            raise DataError(
                f"{self._name}: not JSON (text after the array); the file must be one array, or "
                "one object per line."
            )

    def member(self) -> dict[str, Any]:
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._window, self._position)
            except (ValueError, RecursionError) as error:
                # An element that does not end inside the window looks like a broken one: read on
                # until it must be broken.
                if len(self._window) - self._position <= MAX_ROW_BYTES and self._read_more():
                    continue
                raise DataError(self._element_error(error)) from error
            text = self._window[self._position : end]
            self._position = end
            if len(text) > MAX_ROW_BYTES // 4 and len(text.encode()) > MAX_ROW_BYTES:
                raise DataError(too_large(self.where))
            return _checked_object(value, text, self.where)

    def _element_error(self, error: Exception) -> str:
        position = error.pos - self._position if isinstance(error, json.JSONDecodeError) else 0
        unclosed = str(error).startswith("Unterminated string")
        if not self._at_end and (unclosed or position > MAX_ROW_BYTES):
            return too_large(self.where)
        return (
            f"{self.where}: not JSON ({_parse_error_text(error)}); the array must contain JSON "
            "objects."
        )

    def _read_more(self) -> bool:
        """Read another chunk into the window; return False at the end of the stream."""
        if self._at_end:
            return False
        chunk = self._stream.read(_CHUNK_BYTES)
        self._at_end = not chunk
        _check_nul(chunk, f"{self.where} or shortly after")
        try:
            decoded = self._characters.decode(chunk, final=self._at_end)
        except UnicodeDecodeError as error:
            raise DataError(_not_utf8(f"{self.where} or shortly after", error)) from error
        self._window = self._window[self._position :] + decoded
        self._position = 0
        return not self._at_end


def _check_nul(data: bytes, where: str) -> None:
    if b"\0" in data:
        raise DataError(
            f"{where}: contains a NUL byte, so the file is damaged or not UTF-8; save it as UTF-8 "
            "without NUL bytes."
        )


def _not_utf8(where: str, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"{where}: not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8."


def _checked_object(value: Any, text: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a JSON {type(value).__name__} instead of an object.")
    if _SURROGATE_ESCAPE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: an unpaired surrogate (\\ud800 to \\udfff), which is not a character; "
                "remove it."
            ) from error
    return value


def _parse_error_text(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
