"""An assistant turn is read strictly, quickly, and without ever raising."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.toolcalls.parser import load_json, parse, parse_tolerant, same_value

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


def test_text_before_and_after_a_call_is_its_content() -> None:
    answer = parse(f"Let me look.\n{CALL}\nDone.")
    assert [c["name"] for c in answer.calls] == ["f"]
    assert answer.content == "Let me look.\n\nDone."
    assert not answer.malformed


def test_calls_keep_their_order() -> None:
    other = CALL.replace('"f"', '"g"')
    assert [c["name"] for c in parse(CALL + other).calls] == ["f", "g"]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}',
        "<tool_call>f(x=1)</tool_call>",
        '<tool_call>{"name": "f"}</tool_call>',
        '<tool_call>{"name": "f", "arguments": []}</tool_call>',
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>',
        "</tool_call>",
        "<tool_call>" + "[" * 10_000 + "</tool_call>",
    ],
)
def test_a_broken_call_is_malformed_and_never_prose(text: str) -> None:
    assert parse(text).malformed
    assert not parse(text).calls


@given(st.text(alphabet=st.characters(codec=None), max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse(text + "<tool_call>" + text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_a_value_equals_itself_after_a_round_trip(value: Any) -> None:
    assert same_value(value, json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), ("1", 1), ({"a": 1}, {"a": 1, "b": 2}), ([1], [1, 1]), (None, 0)]
)
def test_values_of_other_types_differ(one: Any, other: Any) -> None:
    assert not same_value(one, other)
    assert not same_value(other, one)


def test_not_json_is_none() -> None:
    assert load_json("{'a': 1}") is None


@pytest.mark.parametrize(
    ("text", "defects"),
    [
        ("<tool_call>{'name': 'f', 'arguments': {'x': 1}}</tool_call>", ("python literal",)),
        ('<tool_call>{"name": "f", "arguments": {"x": 1}}', ("unclosed tag",)),
        ('```json\n{"name": "f", "arguments": {"x": 1}}\n```', ("no tag", "code fence")),
        (
            '<tool_call>[{"name": "f", "arguments": "{\\"x\\": 1}"}]</tool_call>',
            ("list of calls", "arguments as text"),
        ),
        (
            '{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}',
            ("no tag", "wrapped call"),
        ),
    ],
)
def test_what_a_tolerant_reader_forgives_is_named(text: str, defects: tuple[str, ...]) -> None:
    answer = parse_tolerant(text, ["f"])
    assert answer.calls == [{"name": "f", "arguments": {"x": 1}}]
    assert answer.defects == defects
    assert not answer.malformed
    assert not parse(text).calls


def test_a_tool_that_is_not_offered_is_not_read_out_of_prose() -> None:
    assert parse_tolerant('{"name": "Ada", "arguments": {}}', ["f"]).calls == []


def test_calls_in_thinking_do_not_count() -> None:
    text = f"<think>{CALL}</think>\n\nNo."
    assert (parse(text).calls, parse(text).content) == ([], "No.")
    assert parse(f"<think>Perhaps {CALL}").defects == ("unclosed thinking",)
    assert parse_tolerant(f"<think>Perhaps {CALL}").malformed


@pytest.mark.parametrize(
    "value", ['{"a": 1, "a": 2}', "1e999", "[NaN]", "[" * 65 + "]" * 65, '"' + '\\"' * 9]
)
def test_what_programs_read_differently_is_not_json(value: str) -> None:
    assert load_json(value) is None


@pytest.mark.parametrize(
    "piece", ["<tool_call>", '\\"', "[", "{'a':", "(", "<think>", "</tool_call>", "-", "not "]
)
def test_twenty_kilobytes_of_anything_are_read_quickly(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    began = time.process_time()
    for one in (text, f"<tool_call>{text}</tool_call>"):
        parse(one)
        parse_tolerant(one, ["f"])
    assert time.process_time() - began < 10  # about 50 ms each on a quiet machine
