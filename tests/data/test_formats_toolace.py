"""ToolACE: calls in brackets with any name, results as an array."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.formats import Rejected, convert
from experiments.data.formats.call_syntaxes import bracket

Row = dict[str, Any]
OPEN = {"type": "dict", "additionalProperties": True}
TRENDS = {
    "name": "Market Trends API",
    "description": "d",
    "parameters": {
        "type": "dict",
        "properties": {"trend_type": {"type": "string"}, "country": {"type": "str"}},
        "required": ["trend_type"],
    },
    "required": None,
}
DICE = {"name": "/madlibs-diceware", "description": "d", "parameters": OPEN}
SYSTEM = (
    "You are an expert in composing functions. Here is a list of functions in JSON format that you "
    "can invoke:\n{}. \nShould you decide to return the function call(s). Put it in the format of "
    "[func1(params_name=params_value), func2(params)]\n"
)


def raw(*said: str, tools: Any = (TRENDS, DICE)) -> Row:
    turns = [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in said]
    return {"system": SYSTEM.replace("{}", json.dumps(list(tools))), "conversations": turns}


def reason(row: Row) -> str:
    with pytest.raises(Rejected) as caught:
        convert("toolace", row, "r")
    return caught.value.reason


def test_names_with_spaces_and_slashes_are_made_fit_in_tools_and_calls_together() -> None:
    said = '[Market Trends API(trend_type="MARKET_INDEXES", country="us"), /madlibs-diceware(n=2)]'
    row = convert("toolace", raw("user: go", f"assistant: {said}"), "r")
    assert [t["function"]["name"] for t in row["tools"]] == [
        "Market_Trends_API",
        "madlibs-diceware",
    ]
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
    assert [c["function"] for c in row["messages"][1]["tool_calls"]] == [
        {
            "name": "Market_Trends_API",
            "arguments": {"trend_type": "MARKET_INDEXES", "country": "us"},
        },
        {"name": "madlibs-diceware", "arguments": {"n": 2}},
    ]
    parameters = row["tools"][0]["function"]["parameters"]
    assert parameters["type"] == "object"
    assert parameters["properties"]["country"] == {"type": "string"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it\\'s'", "it's"),
        ('"a, b) ] = c"', "a, b) ] = c"),
        ("{'a': [1, (2, 3)], \"b\": None}", {"a": [1, [2, 3]], "b": None}),
        ('{"a": true, "b": null}', {"a": True, "b": None}),
        ("-0.30000000000000004", -0.30000000000000004),
        ("true", True),
        ("[]", []),
    ],
)
def test_values_are_python_literals_or_json(text: str, value: Any) -> None:
    [first, second] = bracket(f"[f(x={text}, y=1), g()]")
    assert first["function"]["arguments"] == {"x": value, "y": 1}
    assert second["function"] == {"name": "g", "arguments": {}}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), JSON, max_size=3))
def test_any_value_written_as_python_is_read_back(arguments: Row) -> None:
    written = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    [call] = bracket(f"[a b({written})]")
    assert call["function"] == {"name": "a b", "arguments": arguments}


@pytest.mark.parametrize(
    "text",
    [
        "f(a=1)",
        "[f(1)]",
        "[f(a=b)]",
        "[f(a=1]",
        "[f(a='x)]",
        "[f(a=1) g()]",
        "[f(a=1, a=2)]",
        "[]",
        "[f(a={1})]",
    ],
)
def test_what_is_no_call_is_malformed(text: str) -> None:
    with pytest.raises(Rejected, match="malformed_call"):
        bracket(text)


def test_each_result_of_a_tool_turn_is_one_message_word_for_word() -> None:
    call = '[Market Trends API(trend_type="a"), Market Trends API(trend_type="b")]'
    one = '{"name": "Market Trends API", "results": {"x": 1.50}}'
    results = f'[{one}, {{"name": "Market Trends API", "results": "n"}}]'
    row = convert(
        "toolace", raw("user: go", f"assistant: {call}", f"tool: {results}", "assistant: ok"), "r"
    )
    assert row["messages"][2:4] == [
        {"role": "tool", "name": "Market_Trends_API", "content": '{"x": 1.50}'},
        {"role": "tool", "name": "Market_Trends_API", "content": '"n"'},
    ]


def test_a_tool_turn_that_is_no_array_is_one_message() -> None:
    call = '[Market Trends API(trend_type="a")]'
    row = convert(
        "toolace", raw("user: go", f"assistant: {call}", "tool: [{1}]", "assistant: ok"), "r"
    )
    assert row["messages"][2]["content"] == "[{1}]"


@pytest.mark.parametrize(
    "said", ["None of them fits.", "[Note: see (a)]", "Please give trend_type [string] (required)."]
)
def test_answers_without_a_call_stay_text(said: str) -> None:
    row = convert("toolace", raw("user: go", f"assistant: {said}"), "r")
    assert row["messages"][-1] == {"role": "assistant", "content": said}


def test_text_before_a_call_is_its_content() -> None:
    said = 'Let me look. [Market Trends API(trend_type="a")]'
    last = convert("toolace", raw("user: go", f"assistant: {said}"), "r")["messages"][-1]
    assert last["content"] == "Let me look." and len(last["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("[Market Trends API(trend_type=a)]", "malformed_call"),
        ("[Market Trends API(trend_type='a'", "malformed_call"),
        ("Market Trends API(trend_type='a')", "malformed_call"),
        ("[Market Trends API(trend_type='a')] It's done.", "text_after_call"),
        ("[Market Trends API(country='us')]", "missing_required_argument"),
        ("[Market Trends API(trend_type='a', colour='b')]", "unknown_argument"),
        ("[Weather(city='a')]", "unknown_function"),
    ],
)
def test_a_defect_rejects_the_row(said: str, why: str) -> None:
    assert reason(raw("user: go", f"assistant: {said}")) == why


def test_names_that_become_one_reject_the_row() -> None:
    other = TRENDS | {"name": "Market/Trends/API", "description": "other"}
    assert reason(raw("user: a", "assistant: b", tools=(TRENDS, other))) == "duplicate_tool_name"


def test_a_role_it_does_not_know_rejects_the_row() -> None:
    assert reason(raw("robot: a", "assistant: b")) == "unknown_role"
