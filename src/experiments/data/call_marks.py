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
    for learn in (_json, _named_json, _python, _arguments):
        if (form := learn(probes)) is not None:
            yield form
            yield replace(form, before=form.start + form.before, start="", between="")


def _json(probes: Probes) -> CallForm | None:
    """Infer a format in which a call is a JSON object with name and arguments."""
    place = _value_with(probes.one, FIRST)
    if place is None:
        return None
    value, start, end, printed = place
    listed = isinstance(value, list)
    outer = value[0] if listed else value
    wrapper = next((k for k, v in outer.items() if isinstance(v, dict) and FIRST in v.values()), "")
    inner = outer[wrapper] if wrapper else outer
    name_key = next((key for key, held in inner.items() if held == FIRST), None)
    arguments_key = next((key for key, held in inner.items() if KEYS[0] in str(held)), None)
    if name_key is None or arguments_key is None:
        return None
    known = {name_key, arguments_key, wrapper}
    form = CallForm(
        "",
        listed=listed,
        wrapper=wrapper,
        name_key=name_key,
        arguments_key=arguments_key,
        extra_keys=tuple(sorted({*outer, *inner} - known)),
        arguments_as_text=isinstance(inner[arguments_key], str),
        as_python=printed,
    )
    second = None if listed or probes.two is None else _value_with(probes.two, SECOND)
    places = (second[1], second[2]) if second else None
    return _with_marks(form, probes, (start, end), places)


def _value_with(text: str, name: str) -> tuple[Any, int, int, bool] | None:
    """Return the JSON value that contains a call, as (value, start, end, is Python literal)."""
    at = text.find(name)
    starts = [i for i in range(at + 1) if text[i] in "[{"]
    for start in starts:
        found = read_json(text, start)
        if found is not None and _holds(found[0], name):
            return found[0], start, found[1], False
    for start in starts:
        for end in (i + 1 for i in range(len(text) - 1, start, -1) if text[i] in "]}"):
            value = load_literal(text[start:end])
            if _holds(value, name):
                return value, start, end, True
    return None


def _holds(value: Any, name: str) -> bool:
    """Return whether a value is a call with that name, or a list that begins with one."""
    one = value[0] if isinstance(value, list) and value else value
    if not isinstance(one, dict):
        return False
    inner = [held for held in one.values() if isinstance(held, dict)]
    return name in one.values() or any(name in held.values() for held in inner)


def _named_json(probes: Probes) -> CallForm | None:
    """Infer a format in which the name precedes a JSON object with the arguments."""
    first = _named(probes.one, FIRST)
    if first is None:
        return None
    start, opened, end = first
    mark = probes.one[start + len(FIRST) : opened]
    second = _named(probes.two, SECOND) if probes.two else None
    places = (second[0], second[2]) if second else None
    return _with_marks(CallForm("", "named_json", name_end=mark), probes, (start, end), places)


def _named(text: str, name: str) -> tuple[int, int, int] | None:
    start = text.find(name)
    opened = text.find("{", start) if start >= 0 else -1
    found = read_json(text, opened) if opened >= 0 else None
    if found is None or not isinstance(found[0], dict) or KEYS[0] not in found[0]:
        return None
    return start, opened, found[1]


def _python(probes: Probes) -> CallForm | None:
    """Infer a format in which calls are a list of Python calls."""
    text = probes.one
    at = text.find(f"{FIRST}({KEYS[0]}=")
    start, end = text.rfind("[", 0, at) if at >= 0 else -1, text.find("]", at)
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
    value_end = _whole_start(_common_start(to_next, tail))
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
    return _with_marks(form, probes, (len(head), end), _second_arguments(probes, value_end))


def _second_arguments(probes: Probes, value_end: str) -> tuple[int, int] | None:
    parts = _parts(probes.two, [SECOND, KEYS[0], VALUES[2]]) if probes.two else None
    if parts is None or probes.two is None:
        return None
    return len(parts[0]), len(probes.two) - len(parts[-1]) + len(value_end)


def _parts(text: str, words: list[str]) -> list[str] | None:
    """Split a text at words that follow each other, with the last match of the first word."""
    at = text.find(words[0])
    second = text.find(words[1], at)
    at = text.rfind(words[0], 0, second) if second >= 0 else at
    parts, begin = [], 0
    for word in words:
        found = text.find(word, max(begin, at))
        if found < 0:
            return None
        parts.append(text[begin:found])
        begin = found + len(word)
    return [*parts, text[begin:]]


def _with_marks(
    form: CallForm, probes: Probes, first: tuple[int, int], second: tuple[int, int] | None
) -> CallForm:
    """Add the markers around the calls.

    Args:
        form: the format with its inner markers.
        probes: the turns with one call and with two.
        first: start and end of the call in the first turn.
        second: start and end of the second call in the second turn; None if it is in the same list.
    """
    head, tail = probes.one[: first[0]], probes.one[first[1] :]
    if second is None or probes.two is None:
        return replace(form, before=head, after=tail)
    gap, close = probes.two[first[1] : second[0]], probes.two[second[1] :]
    after = _whole_start(_common_start(gap, close))
    before = _whole_end(_common_end(head, gap[len(after) :]))
    return replace(
        form,
        start=head.removesuffix(before) if before else head,
        before=before,
        between=gap[len(after) : len(gap) - len(before)],
        after=after,
        end=close[len(after) :],
    )


def _common_start(one: str, other: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return one[: len(list(same))]


def _common_end(one: str, other: str) -> str:
    return _common_start(one[::-1], other[::-1])[::-1]


def _whole_start(text: str) -> str:
    """Cut off an incomplete tag at the end of a text: `</a><` becomes `</a>`."""
    opened = text.rfind("<")
    return text[:opened] if opened > text.rfind(">") else text


def _whole_end(text: str) -> str:
    """Cut off an incomplete tag at the start of a text: `a><b>` becomes `<b>`."""
    opened, closed = text.find("<"), text.find(">")
    return text[closed + 1 :] if closed >= 0 and (opened < 0 or closed < opened) else text
