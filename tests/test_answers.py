"""An assistant turn is read strictly, quickly, and without ever raising."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.answers import load_json, parse, same_value

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
