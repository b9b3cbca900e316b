"""xlam and its kin: flat parameters, types as Python text, repeated tools; When2Call."""

import json
from typing import Any

import pytest

from experiments.data.formats import Rejected, convert
from experiments.data.formats.parameter_schemas import python_type

Row = dict[str, Any]


def raw(parameters: Row, arguments: Row, **more: Any) -> Row:
    tool = {"name": "f", "description": "d", "parameters": parameters}
    answers = json.dumps([{"name": "f", "arguments": arguments}])
    return {"id": 7, "query": "go", "answers": answers, "tools": json.dumps([tool]), **more}


def schema(parameters: Row, arguments: Row | None = None) -> Row:
    [tool] = convert("xlam", raw(parameters, arguments or {}), "r")["tools"]
    read: Row = tool["function"]["parameters"]
    return read


def reason(row: Row, name: str = "xlam") -> str:
    with pytest.raises(Rejected) as caught:
        convert(name, row, "r")
    return caught.value.reason


STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
TYPES: list[tuple[str, Row, bool]] = [
    ("str", STRING, False),
    ("int, optional", INTEGER, True),
    ("str, default='elonmusk'", STRING, True),
    ("int, optional, default=3", INTEGER, True),
    ("float", NUMBER, False),
    ("bool", {"type": "boolean"}, False),
    ("Dict", {"type": "object"}, False),
    ("Dict[str, int]", {"type": "object"}, False),
    ("list", {"type": "array"}, False),
    ("set", {"type": "array"}, False),
    ("Tuple[float, float]", {"type": "array"}, False),
    ("List[int]", {"type": "array", "items": INTEGER}, False),
    ("List[List[str]]", {"type": "array", "items": {"type": "array", "items": STRING}}, False),
    ("List[Tuple[int, int]]", {"type": "array", "items": {"type": "array"}}, False),
    ("Set[str]", {"type": "array", "items": STRING}, False),
    ("Optional[int]", INTEGER, True),
    ("Union[int, float]", {"anyOf": [INTEGER, NUMBER]}, False),
    ("Union[str, None]", STRING, True),
    (
        "Union[Dict[str, int], List[int]]",
        {"anyOf": [{"type": "object"}, {"type": "array", "items": INTEGER}]},
        False,
    ),
    ("Callable[[float], float]", STRING, False),
    ("Any", {}, False),
    ("None", {"type": "null"}, False),
    ("np.ndarray", STRING, False),
    ("date", STRING, False),
    ("double", NUMBER, False),
]


@pytest.mark.parametrize(("text", "wanted", "optional"), TYPES)
def test_types_written_as_python_become_json_schema(text: str, wanted: Row, optional: bool) -> None:
    assert python_type(text) == (wanted, optional)


def test_a_parameter_is_required_unless_optional_or_with_a_default() -> None:
    read = schema(
        {
            "a": {"type": "str", "description": "A"},
            "b": {"type": "str, optional", "description": "B"},
            "c": {"type": "int", "description": "C", "default": 3},
            "d": {"type": "int, default=3", "description": "D"},
        },
        {"a": "x"},
    )
    assert read["required"] == ["a"]
    assert read["properties"]["c"] == {"type": "integer", "description": "C", "default": 3}
    assert read["properties"]["d"] == {"type": "integer", "description": "D"}


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_default_makes_a_parameter_optional_and_is_not_kept(empty: Any) -> None:
    read = schema({"a": {"type": "str", "default": empty}})
    assert read == {"type": "object", "properties": {"a": {"type": "string"}}, "required": []}


@pytest.mark.parametrize("default", [0, False, "false", [], "1"])
def test_any_other_default_is_kept_as_it_is_written(default: Any) -> None:
    kept = schema({"a": {"type": "int", "default": default}})["properties"]["a"]["default"]
    assert json.dumps(kept) == json.dumps(default)


def test_a_wrapper_with_properties_is_unwrapped_and_its_required_list_counts() -> None:
    inside = {"a": {"type": "str"}, "b": {"type": "str, optional"}, "c": {"type": "int"}}
    assert schema({"type": "dict", "properties": inside}, {"a": "", "c": 1})["required"] == [
        "a",
        "c",
    ]
    listed = {"type": "dict", "properties": inside, "required": ["b", "gone"]}
    assert schema(listed, {"b": ""})["required"] == ["b"]
    assert schema({"type": "dict", "properties": inside, "required": []})["required"] == []


def test_a_wrapper_without_properties_has_none() -> None:
    assert schema({"type": "dict"}) == {"type": "object", "properties": {}, "required": []}


def test_a_parameter_may_be_named_type() -> None:
    read = schema({"type": {"type": "str", "description": "kind"}}, {"type": "x"})
    assert read["properties"] == {"type": {"type": "string", "description": "kind"}}


def test_a_bare_value_is_the_text_of_a_type() -> None:
    read = schema({"a": "List[int]", "b": "str, optional"}, {"a": [1]})
    assert read["properties"] == {"a": {"type": "array", "items": INTEGER}, "b": STRING}
    assert read["required"] == ["a"]


def test_tools_wrapped_as_openai_does_are_read_too() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "array", "items": INTEGER}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    row = convert("xlam", raw({}, {"a": [1]}) | {"tools": json.dumps([tool])}, "r")
    assert row["tools"][0]["function"]["parameters"] == parameters | {"required": ["a"]}


def test_all_answers_are_calls_of_one_turn() -> None:
    answers = [{"name": "f", "arguments": {"x": value}} for value in (0.1 + 0.2, "01")]
    given = raw({"x": {"type": "float"}}, {}) | {"answers": json.dumps(answers)}
    row = convert("xlam", given, "r")
    assert row["id"] == "7"
    user, assistant = row["messages"]
    assert user == {"role": "user", "content": "go"}
    assert assistant["content"] == ""
    assert [call["function"] for call in assistant["tool_calls"]] == answers


def test_a_tool_repeated_word_for_word_is_kept_once() -> None:
    given = raw({"x": {"type": "int"}}, {"x": 1})
    given["tools"] = json.dumps(json.loads(given["tools"]) * 2)
    assert len(convert("xlam", given, "r")["tools"]) == 1


def test_two_different_tools_of_one_name_reject_the_row() -> None:
    given = raw({"x": {"type": "int"}}, {"x": 1})
    [tool] = json.loads(given["tools"])
    given["tools"] = json.dumps([tool, tool | {"description": "another"}])
    assert reason(given) == "duplicate_tool_name"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (raw({"x": {"type": "int"}}, {}), "missing_required_argument"),
        (raw({"x": {"type": "int"}}, {"x": 1, "y": 2}), "unknown_argument"),
        (raw({}, {}, answers="[]"), "empty_turn"),
        (raw({}, {}, answers="[{]"), "malformed_call"),
        (raw({}, {}, answers='[{"name": "f", "arguments": [1]}]'), "malformed_call"),
        (raw({}, {}, answers='[{"name": "g", "arguments": {}}]'), "unknown_function"),
        (raw({}, {}, query=3), "not_text"),
        (raw({}, {}, query=" "), "empty_turn"),
        (raw({}, {}, tools="[{"), "malformed_tools"),
        (raw({}, {}, tools='[{"description": "nameless"}]'), "malformed_tools"),
        (raw({}, {}, tools='[{"name": "f", "parameters": "x"}]'), "malformed_tools"),
        (raw({}, {}, tools=None), "missing_column"),
        (raw({}, {}, answers="[" * 100_000), "too_deep"),
    ],
)
def test_a_defect_rejects_the_row(given: Row, why: str) -> None:
    assert reason(given) == why


W2C_TOOL = {
    "name": "f",
    "description": "d",
    "parameters": {"type": "dict", "properties": {"a": {"type": "str", "default": "x"}}},
    "required": ["a"],
}


def when2call(said: str, **more: Any) -> Row:
    messages = [{"role": "user", "content": "go"}, {"role": "assistant", "content": said}]
    return {"tools": [W2C_TOOL], "messages": messages, **more}


@pytest.mark.parametrize(
    "element", [{"name": "f", "arguments": {"a": "1"}}, '{"name": "f", "arguments": {"a": "1"}}']
)
@pytest.mark.parametrize("tools", [[W2C_TOOL], [json.dumps(W2C_TOOL)], json.dumps([W2C_TOOL])])
def test_when2call_elements_may_be_encoded_twice(element: Any, tools: Any) -> None:
    said = f"Yes. <TOOLCALL>{json.dumps([element])}</TOOLCALL>"
    row = convert("when2call", when2call(said, tools=tools), "r")
    last = row["messages"][-1]
    assert last["content"] == "Yes."
    assert last["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": "1"}}
    assert row["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"a": {"type": "string", "default": "x"}},
        "required": ["a"],
    }


def test_the_chosen_response_of_a_preference_row_is_the_answer() -> None:
    given = when2call("")
    given["messages"].pop()
    given["chosen_response"] = {"role": "assistant", "content": "Which a?"}
    given["rejected_response"] = {"role": "assistant", "content": "<TOOLCALL>[]</TOOLCALL>"}
    assert convert("when2call", given, "r")["messages"][-1]["content"] == "Which a?"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('<TOOLCALL>[{"name": "f", "arguments": {"a": "1"}}]', "malformed_call"),
        ("<TOOLCALL>[]</TOOLCALL>", "malformed_call"),
        ('<TOOLCALL>[{"name": "f", "arguments": {}}]</TOOLCALL>', "missing_required_argument"),
    ],
)
def test_a_defect_rejects_the_when2call_row(said: str, why: str) -> None:
    assert reason(when2call(said), "when2call") == why
