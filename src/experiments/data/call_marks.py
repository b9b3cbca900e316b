"""Infer a call format from turns that a template wrote for known calls.

The markers are the text around and inside the calls. Each kind of call body is tried in turn; what
is inferred is only a candidate until it has parsed the turns back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from experiments.toolcalls.parser import CallForm
from experiments.toolcalls.parser.argument_values import load_literal, read_json

Call = dict[str, Any]
FIRST, SECOND = "probe_first", "probe_second"
KEYS = ("probe_key", "probe_other")
VALUES = ("probe value", "probe thing", "probe word")
A: Call = {"name": FIRST, "arguments": dict(zip(KEYS, VALUES, strict=False))}
B: Call = {"name": SECOND, "arguments": {KEYS[0]: VALUES[2]}}


@dataclass(frozen=True)
class Probes:
    """The turns that the template wrote; None where it refused a turn or lost a call."""

    one: str
    two: str | None
    beside: str | None
    """A call together with text."""


def candidates(probes: Probes) -> Iterator[CallForm]:
    """Yield candidate formats for these turns, the most likely first."""
    for infer in (_json, _name_then_json, _python, _arguments):
        if (form := infer(probes)) is not None:
            yield form
            yield replace(form, before=form.start + form.before, start="", between="")


def _json(probes: Probes) -> CallForm | None:
    """Infer a format in which a call is a JSON object with name and arguments."""
    location = _value_with(probes.one, FIRST)
    if location is None:
        return None
    value, start, end, is_python = location
    listed = isinstance(value, list)
    call = value[0] if listed else value
    wrapper = next((k for k, v in call.items() if isinstance(v, dict) and FIRST in v.values()), "")
    body = call[wrapper] if wrapper else call
    name_key = next((key for key, item in body.items() if item == FIRST), None)
    arguments_key = next((key for key, item in body.items() if KEYS[0] in str(item)), None)
    if name_key is None or arguments_key is None:
        return None
    used_keys = {name_key, arguments_key, wrapper}
    form = CallForm(
        "",
        listed=listed,
        wrapper=wrapper,
        name_key=name_key,
        arguments_key=arguments_key,
        extra_keys=tuple(sorted({*call, *body} - used_keys)),
        arguments_as_text=isinstance(body[arguments_key], str),
        as_python=is_python,
    )
    second = None if listed or probes.two is None else _value_with(probes.two, SECOND)
    second_span = (second[1], second[2]) if second else None
    return _with_marks(form, probes, (start, end), second_span)


def _value_with(text: str, name: str) -> tuple[Any, int, int, bool] | None:
    """Return the JSON value that contains a call, as (value, start, end, is Python literal)."""
    name_index = text.find(name)
    starts = [i for i in range(name_index + 1) if text[i] in "[{"]
    for start in starts:
        parsed = read_json(text, start)
        if parsed is not None and _contains_call(parsed[0], name):
            return parsed[0], start, parsed[1], False
    for start in starts:
        for end in (i + 1 for i in range(len(text) - 1, start, -1) if text[i] in "]}"):
            value = load_literal(text[start:end])
            if _contains_call(value, name):
                return value, start, end, True
    return None


def _contains_call(value: Any, name: str) -> bool:
    """Return whether a value is a call with that name, or a list that begins with one."""
    call = value[0] if isinstance(value, list) and value else value
    if not isinstance(call, dict):
        return False
    nested = [item for item in call.values() if isinstance(item, dict)]
    return name in call.values() or any(name in item.values() for item in nested)


def _name_then_json(probes: Probes) -> CallForm | None:
    """Infer a format in which the name precedes a JSON object with the arguments."""
    location = _find_name_then_json(probes.one, FIRST)
    if location is None:
        return None
    start, brace, end = location
    name_end = probes.one[start + len(FIRST) : brace]
    second_location = _find_name_then_json(probes.two, SECOND) if probes.two else None
    second_span = (second_location[0], second_location[2]) if second_location else None
    return _with_marks(
        CallForm("", "named_json", name_end=name_end), probes, (start, end), second_span
    )


def _find_name_then_json(text: str, name: str) -> tuple[int, int, int] | None:
    start = text.find(name)
    brace = text.find("{", start) if start >= 0 else -1
    parsed = read_json(text, brace) if brace >= 0 else None
    if parsed is None or not isinstance(parsed[0], dict) or KEYS[0] not in parsed[0]:
        return None
    return start, brace, parsed[1]


def _python(probes: Probes) -> CallForm | None:
    """Infer a format in which calls are a list of Python calls."""
    text = probes.one
    name_index = text.find(f"{FIRST}({KEYS[0]}=")
    start, end = (
        text.rfind("[", 0, name_index) if name_index >= 0 else -1,
        text.find("]", name_index),
    )
    if start < 0 or end < 0:
        return None
    form = CallForm("", "python", listed=True)
    return _with_marks(form, probes, (start, end + 1), None)


def _arguments(probes: Probes) -> CallForm | None:
    """Infer a format in which each argument is written as a key and a text value."""
    text = probes.one
    parts = _parts(text, [FIRST, KEYS[0], VALUES[0], KEYS[1], VALUES[1]])
    if parts is None:
        return None
    head, to_key, to_value, to_next, to_value_again, tail = parts
    if to_value != to_value_again:
        return None
    value_end = _without_cut_tag_at_end(_common_prefix(to_next, tail))
    key_before = to_next[len(value_end) :]
    if not value_end.strip() or not key_before.strip() or not to_key.endswith(key_before):
        return None
    form = CallForm(
        "",
        "arguments",
        name_end=to_key.removesuffix(key_before),
        key_before=key_before,
        key_end=to_value,
        value_end=value_end,
    )
    end = len(text) - len(tail) + len(value_end)
    return _with_marks(form, probes, (len(head), end), _second_arguments_span(probes, value_end))


def _second_arguments_span(probes: Probes, value_end: str) -> tuple[int, int] | None:
    pieces = _parts(probes.two, [SECOND, KEYS[0], VALUES[2]]) if probes.two else None
    if pieces is None or probes.two is None:
        return None
    return len(pieces[0]), len(probes.two) - len(pieces[-1]) + len(value_end)


def _parts(text: str, words: list[str]) -> list[str] | None:
    """Split a text at words that follow each other, with the last match of the first word."""
    first_index = text.find(words[0])
    second_index = text.find(words[1], first_index)
    first_index = text.rfind(words[0], 0, second_index) if second_index >= 0 else first_index
    pieces, piece_start = [], 0
    for word in words:
        word_index = text.find(word, max(piece_start, first_index))
        if word_index < 0:
            return None
        pieces.append(text[piece_start:word_index])
        piece_start = word_index + len(word)
    return [*pieces, text[piece_start:]]


def _with_marks(
    form: CallForm, probes: Probes, span: tuple[int, int], second_span: tuple[int, int] | None
) -> CallForm:
    """Add the markers around the calls.

    Args:
        form: the format with its inner markers.
        probes: the turns with one call and with two.
        span: start and end of the call in the first turn.
        second_span: start and end of the second call in the second turn; None if it is in the same
            list.
    """
    head, tail = probes.one[: span[0]], probes.one[span[1] :]
    if second_span is None or probes.two is None:
        return replace(form, before=head, after=tail)
    gap, tail_after_two = probes.two[span[1] : second_span[0]], probes.two[second_span[1] :]
    after = _without_cut_tag_at_end(_common_prefix(gap, tail_after_two))
    before = _without_cut_tag_at_start(_common_suffix(head, gap[len(after) :]))
    return replace(
        form,
        start=head.removesuffix(before) if before else head,
        before=before,
        between=gap[len(after) : len(gap) - len(before)],
        after=after,
        end=tail_after_two[len(after) :],
    )


def _common_prefix(text: str, other: str) -> str:
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False))
    return text[: len(list(shared))]


def _common_suffix(text: str, other: str) -> str:
    return _common_prefix(text[::-1], other[::-1])[::-1]


def _without_cut_tag_at_end(text: str) -> str:
    """Cut off an incomplete tag at the end of a text: `</a><` becomes `</a>`."""
    open_index = text.rfind("<")
    return text[:open_index] if open_index > text.rfind(">") else text


def _without_cut_tag_at_start(text: str) -> str:
    """Cut off an incomplete tag at the start of a text: `a><b>` becomes `<b>`."""
    open_index, close_index = text.find("<"), text.find(">")
    return (
        text[close_index + 1 :]
        if close_index >= 0 and (open_index < 0 or close_index < open_index)
        else text
    )
