"""Glaive's grammar: single-quoted arguments, turns, and every defect known of its rows."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.formats import Rejected, convert

Row = dict[str, Any]
END = "<|endoftext|>"
LEAD_IN = (
    "SYSTEM: You are a helpful assistant with access to the following functions. "
    "Use them if required -\n"
)
NO_TOOLS = "SYSTEM: You are a helpful assistant, with no access to external functions.\n"
NOTE = {
    "name": "note",
    "description": "Write a note",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": []},
}
CALL = '<functioncall> {"name": "note", "arguments": \'{"text": "milk"}\'}'


def system(*tools: Row) -> str:
    return LEAD_IN + "\n\n".join(json.dumps(tool, indent=4) for tool in tools) + "\n"


def turns(*said: str) -> str:
    return "".join(f"{turn} {END if turn.startswith('ASSISTANT') else ''}\n\n\n" for turn in said)


def v2(*said: str, tools: tuple[Row, ...] = (NOTE,)) -> Row:
    return convert("glaive_v2", {"system": system(*tools), "chat": turns(*said)}, "r-1")


def reason(*said: str, tools: tuple[Row, ...] = (NOTE,)) -> str:
    with pytest.raises(Rejected) as caught:
        v2(*said, tools=tools)
    return caught.value.reason


def arguments(payload: str) -> Any:
    call = '<functioncall> {"name": "note", "arguments": ' + payload + "}"
    [found] = v2("USER: go", f"ASSISTANT: {call}")["messages"][-1]["tool_calls"]
    return found["function"]["arguments"]


def test_the_lead_in_becomes_tools_and_no_system_message() -> None:
    row = v2("USER: hello", "ASSISTANT: hi")
    assert row["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
    ]
    assert row["tools"] == [{"type": "function", "function": NOTE}]
    assert (row["id"], row["source"]) == ("r-1", "glaive_v2")


def test_a_row_without_functions_has_no_tools() -> None:
    row = convert("glaive_v2", {"system": NO_TOOLS, "chat": turns("USER: a", "ASSISTANT: b")}, "r")
    assert row["tools"] == []
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"]


def test_a_system_text_that_is_no_lead_in_stays() -> None:
    raw = {"system": "SYSTEM: Talk like a pirate.", "chat": turns("USER: a", "ASSISTANT: b")}
    row = convert("glaive_v2", raw, "r")
    assert row["messages"][0] == {"role": "system", "content": "Talk like a pirate."}


def test_several_functions_stand_one_after_the_other() -> None:
    other = {**NOTE, "name": "other"}
    assert [
        t["function"]["name"] for t in v2("USER: a", "ASSISTANT: b", tools=(NOTE, other))["tools"]
    ] == [
        "note",
        "other",
    ]


def test_apostrophes_inside_single_quoted_arguments_survive() -> None:
    text = "It's Ann's and Bob's, isn't it?"
    assert arguments("'" + json.dumps({"text": text}) + "'") == {"text": text}


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (r"""'{"text": "Doctor\'s"}'""", "Doctor's"),
        ("""'{"text": "two\nlines"}'""", "two\nlines"),
        ("""'{\n  "text": "milk"\n}'""", "milk"),
        ("""'{'text': "milk"}'""", "milk"),
        (r"""'{"text": "a \"quoted\" word"}'""", 'a "quoted" word'),
        ("""'{"text": "ends in }'}"}'""", "ends in }'}"),
        ("""{"text": "plain JSON"}""", "plain JSON"),
        (r'''"{\"text\": \"JSON in a string\"}"''', "JSON in a string"),
    ],
)
def test_arguments_are_read_in_every_spelling(payload: str, text: str) -> None:
    assert arguments(payload) == {"text": text}


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_text_passes_through_a_single_quoted_argument(text: str) -> None:
    if "<functioncall>" in text or END in text or "ASSISTANT:" in text:
        return
    assert arguments("'" + json.dumps({"text": text}, ensure_ascii=False) + "'") == {"text": text}


@pytest.mark.parametrize(
    "payload",
    [
        '\'{"text": "milk}\'',
        "'{text: milk}'",
        "'milk'",
        "'[1, 2]'",
        "''",
        "null",
        "'{\"text\": NaN}'",
    ],
)
def test_malformed_arguments_reject_the_row(payload: str) -> None:
    call = '<functioncall> {"name": "note", "arguments": ' + payload + "}"
    assert reason("USER: go", f"ASSISTANT: {call}") == "malformed_call"


def test_values_are_never_coerced_to_the_schema() -> None:
    values: Row = {"text": 1.10, "n": "007"}
    open_tool = {"name": "note", "parameters": {"type": "object", "additionalProperties": True}}
    call = '<functioncall> {"name": "note", "arguments": \'' + json.dumps(values) + "'}"
    row = v2("USER: go", f"ASSISTANT: {call}", tools=(open_tool,))
    assert row["messages"][-1]["tool_calls"][0]["function"]["arguments"] == values


def test_text_before_a_call_is_the_content_of_the_same_message() -> None:
    last = v2("USER: go", f"ASSISTANT: Sure, I'll note that. {CALL}")["messages"][-1]
    assert last["content"] == "Sure, I'll note that."
    assert last["tool_calls"][0]["function"] == {"name": "note", "arguments": {"text": "milk"}}


def test_text_after_a_call_rejects_the_row() -> None:
    assert reason("USER: go", f"ASSISTANT: {CALL} Done!") == "malformed_call"


def test_several_calls_in_one_turn_are_answered_in_their_order() -> None:
    other = {**NOTE, "name": "other"}
    second = CALL.replace('"note"', '"other"')
    row = v2(
        *("USER: go", f"ASSISTANT: {CALL} {second}"),
        *("FUNCTION RESPONSE: 1", "FUNCTION RESPONSE: 2", "ASSISTANT: done"),
        tools=(NOTE, other),
    )
    assert len(row["messages"][1]["tool_calls"]) == 2
    assert row["messages"][2:4] == [
        {"role": "tool", "name": "note", "content": "1"},
        {"role": "tool", "name": "other", "content": "2"},
    ]


@pytest.mark.parametrize(
    "said",
    [
        ("ASSISTANT: One.", "ASSISTANT: Two."),
        (f"ASSISTANT: One. {END} ASSISTANT: Two.",),
        ("ASSISTANT: ASSISTANT: One.\nASSISTANT: Two.",),
        ("ASSISTANT:", "ASSISTANT: One.", "ASSISTANT: Two."),
    ],
)
def test_assistant_turns_in_a_row_are_one_turn(said: tuple[str, ...]) -> None:
    row = v2("USER: go", *said)
    assert row["messages"][1:] == [{"role": "assistant", "content": "One.\nTwo."}]


def test_a_turn_of_text_and_a_turn_of_calls_are_one_turn() -> None:
    row = v2("USER: go", "ASSISTANT: One.", f"ASSISTANT: {CALL}", f"ASSISTANT: {CALL}")
    [last] = row["messages"][1:]
    assert last["content"] == "One." and len(last["tool_calls"]) == 2


def test_the_end_of_text_marker_leaves_a_turn_where_it_ends() -> None:
    row = v2("USER: a", f"ASSISTANT: {CALL}", f"FUNCTION RESPONSE: x{END}", f"ASSISTANT: c {END}")
    assert [m["content"] for m in row["messages"]] == ["a", "", "x", "c"]
    assert END not in json.dumps(row)


@pytest.mark.parametrize("asked", [f"What does {END} mean", f"What is {END}"])
def test_an_end_of_text_marker_that_a_turn_quotes_is_text(asked: str) -> None:
    said = f"The token {END} ends a text."
    row = v2(f"USER: {asked}", f"ASSISTANT: {said}")
    assert [m["content"] for m in row["messages"]] == [asked, said]


@pytest.mark.parametrize("said", [f"One. {END} Two.", f"One {END}\n\nTwo", f"{END} Two."])
def test_an_end_of_text_marker_between_sentences_rejects_the_row(said: str) -> None:
    assert reason("USER: go", f"ASSISTANT: {said}") == "leftover_marker"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("USER: ", "ASSISTANT: hello"), "empty_turn"),
        (("USER: go", "ASSISTANT: "), "empty_turn"),
        (("USER: go", "FUNCTION RESPONSE: 1", "ASSISTANT: hello"), "tool_result_without_call"),
        (
            ("USER: go", f"ASSISTANT: {CALL}", "USER: ?", "FUNCTION RESPONSE: 1"),
            "tool_result_without_call",
        ),
        (
            ("USER: go", f"ASSISTANT: {CALL}", "FUNCTION RESPONSE: 1", "FUNCTION RESPONSE: 2"),
            "tool_result_without_call",
        ),
        (("USER: go", "ASSISTANT: It said FUNCTION RESPONSE: 1"), "leftover_marker"),
        (("USER: go", "ASSISTANT: <tool_call>{}</tool_call>"), "leftover_marker"),
        (("USER: go", "ASSISTANT: <|im_end|>"), "leftover_marker"),
        (("USER: go", f"ASSISTANT: {CALL}".replace("note", "nope")), "unknown_function"),
        (("USER: go", f"ASSISTANT: {CALL}".replace('"text"', '"words"')), "unknown_argument"),
        ((f"ASSISTANT: {CALL}", "USER: go", "ASSISTANT: a"), "call_before_user"),
        (("USER: go",), "no_assistant_turn"),
        (("hello", "USER: go", "ASSISTANT: a"), "unknown_layout"),
        (("USER: a\0b", "ASSISTANT: a"), "control_character"),
        (("USER: a", "ASSISTANT: " + CALL.replace("milk", r"\u0000")), "control_character"),
        (("USER: a", "ASSISTANT: half a pair \ud83d"), "not_text"),
    ],
)
def test_a_defect_rejects_the_row(said: tuple[str, ...], why: str) -> None:
    assert reason(*said) == why


def test_a_required_argument_that_is_missing_rejects_the_row() -> None:
    parameters = {"properties": {"text": {"type": "string"}, "day": {}}, "required": ["day"]}
    strict = NOTE | {"parameters": parameters}
    assert reason("USER: go", f"ASSISTANT: {CALL}", tools=(strict,)) == "missing_required_argument"


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        (
            {"text": {"type": "string"}},
            {"type": "object", "properties": {"text": {"type": "string"}}},
        ),
        (
            {"type": "object", "text": {"type": "string"}, "required": ["text"]},
            {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        ),
        (
            {"type": {"type": "string"}, "description": {"type": "string"}},
            {
                "type": "object",
                "properties": {"type": {"type": "string"}, "description": {"type": "string"}},
            },
        ),
    ],
)
def test_parameters_without_properties_are_wrapped(parameters: Any, schema: Row) -> None:
    row = v2("USER: a", "ASSISTANT: b", tools=(NOTE | {"parameters": parameters},))
    assert row["tools"][0]["function"]["parameters"] == schema


def test_a_function_without_parameters_takes_none() -> None:
    row = v2("USER: a", "ASSISTANT: b", tools=({"name": "now"},))
    assert row["tools"][0]["function"] == {
        "name": "now",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }


def test_a_function_that_is_no_json_rejects_the_row() -> None:
    raw = {"system": LEAD_IN + '{"name": "note", ', "chat": turns("USER: a", "ASSISTANT: b")}
    with pytest.raises(Rejected) as caught:
        convert("glaive_v2", raw, "r")
    assert caught.value.reason == "malformed_tools"


def test_a_renamed_column_is_named() -> None:
    with pytest.raises(Rejected, match=r"missing_column.*'chat'.*dialogue"):
        convert("glaive_v2", {"system": NO_TOOLS, "dialogue": "USER: a"}, "r")


V1_SYSTEM = """SYSTEM: You are an helpful assistant who has access to the following functions, use
them if needed-
{
    "name": "note",
    "parameters": {"properties": {"text": {"type": "string", "description": "a, ]"},},},
}
"""


@pytest.mark.parametrize("response", ["FUNCTION RESPONSE", "FUNCTION CALL"])
@pytest.mark.parametrize("column", ["sample", "text"])
def test_v1_is_one_column_with_trailing_commas_and_single_line_breaks(
    column: str, response: str
) -> None:
    chat = (
        "USER: go\nASSISTANT: " + CALL.replace("'{", "'{\n ") + f"\n{response}: ok\nASSISTANT: done"
    )
    row = convert("glaive_v1", {column: V1_SYSTEM + chat}, "r")
    assert [m["role"] for m in row["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"text": "milk"}
    described = row["tools"][0]["function"]["parameters"]["properties"]["text"]
    assert described == {"type": "string", "description": "a, ]"}


def test_v1_with_two_columns_of_text_must_name_one() -> None:
    with pytest.raises(Rejected) as caught:
        convert("glaive_v1", {"a": "USER: a", "b": "USER: b"}, "r")
    assert caught.value.reason == "missing_column"


def test_the_sharegpt_copy_keeps_the_text_of_v2() -> None:
    said = [
        {"from": "system", "value": system(NOTE)},
        {"from": "human", "value": "go"},
        {"from": "gpt", "value": f"Sure. {CALL} {END}"},
        {"from": "tool", "value": "FUNCTION RESPONSE: ok"},
        {"from": "gpt", "value": f"done {END}"},
    ]
    row = convert("glaive_v2_sharegpt", {"conversations": said}, "r")
    whole = v2("USER: go", f"ASSISTANT: Sure. {CALL}", "FUNCTION RESPONSE: ok", "ASSISTANT: done")
    assert (row["messages"], row["tools"]) == (whole["messages"], whole["tools"])
    said[1]["from"] = "robot"
    with pytest.raises(Rejected, match=r"unknown_role: 'robot'"):
        convert("glaive_v2_sharegpt", {"conversations": said}, "r")


FORMATTED: list[Row] = [
    {"system": system(NOTE), "chat": turns("USER: go", f"ASSISTANT: {CALL}")},
    {
        "messages": [
            {"role": "system", "content": system(NOTE)},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": CALL},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "note", "arguments": '{"text": "milk"}'}}],
            },
        ],
        "tools": json.dumps([NOTE]),
    },
    {
        "conversations": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": CALL},
        ],
        "function_description": json.dumps(NOTE),
    },
    {
        "conversations": [
            {"from": "human", "value": "go"},
            {"from": "function-call", "value": CALL.removeprefix("<functioncall>")},
        ],
        "function_description": json.dumps(NOTE, indent=1),
    },
]


@pytest.mark.parametrize("raw", FORMATTED)
def test_the_layout_of_the_formatted_copy_is_detected(raw: Row) -> None:
    row = convert("glaive_v2_formatted", raw, "r")
    whole = v2("USER: go", f"ASSISTANT: {CALL}")
    assert (row["messages"], row["tools"]) == (whole["messages"], whole["tools"])


def test_a_formatted_row_of_no_layout_is_rejected() -> None:
    with pytest.raises(Rejected, match="missing_column"):
        convert("glaive_v2_formatted", {"text": "hello"}, "r")
