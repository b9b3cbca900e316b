"""Tool schemas in every published spelling, and keywords that are no parameters."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.formats import Rejected, convert

Row = dict[str, Any]
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "lines": {"type": ["integer", "null"]}},
    "required": ["path"],
    "additionalProperties": False,
}


def row(tool: Row, arguments: Row | None = None) -> Row:
    answer: Row = {"role": "assistant", "content": "ok"}
    if arguments is not None:
        answer["tool_calls"] = [{"function": {"name": "f", "arguments": arguments}}]
    messages = [{"role": "user", "content": "go"}, answer]
    return convert("messages", {"messages": messages, "tools": [tool]}, "r")


@pytest.mark.parametrize(
    "key", ["parameters", "inputSchema", "input_schema", "args_schema", "parametersJsonSchema"]
)
def test_the_schema_is_read_wherever_a_published_format_puts_it(key: str) -> None:
    for tool in (
        {"name": "f", key: SCHEMA},
        {"type": "function", "function": {"name": "f", key: SCHEMA}},
        {"toolSpec": {"name": "f", key: {"json": SCHEMA} if key == "inputSchema" else SCHEMA}},
    ):
        assert row(tool)["tools"][0]["function"]["parameters"] == SCHEMA


def test_a_schema_under_an_unknown_key_is_named() -> None:
    with pytest.raises(Rejected, match="malformed_tools: 'params' of 'f'"):
        row({"name": "f", "params": SCHEMA})


@pytest.mark.parametrize(
    "extra",
    [
        {"additionalProperties": {"type": "string"}},
        {"additionalProperties": {}},
        {"patternProperties": {"^x": {"type": "string"}}},
        {"propertyNames": {"pattern": "^x"}, "additionalProperties": True},
    ],
)
def test_a_keyword_without_properties_is_no_parameter(extra: Row) -> None:
    schema = {"type": "object", **extra}
    made = row({"name": "f", "parameters": schema}, {"x": "a"})["tools"][0]["function"]
    assert made["parameters"] == {"type": "object", "properties": {}, **extra}


def test_parameters_named_like_keywords_stay_parameters() -> None:
    for name in ("type", "description", "title", "format", "items", "default"):
        made = row({"name": "f", "parameters": {name: {"type": "string"}}}, {name: "a"})
        assert list(made["tools"][0]["function"]["parameters"]["properties"]) == [name]


NAMES = st.sampled_from(["a", "b", "c", "type", "title"])
VALUE = st.sampled_from([{}, {"type": "string"}, {"const": None}, {"type": ["string", "null"]}])


@settings(max_examples=200, deadline=None)
@given(
    properties=st.dictionaries(NAMES, VALUE),
    required=st.lists(NAMES, unique=True, max_size=2),
    more=st.sampled_from([None, False, True, {}]),
    arguments=st.dictionaries(NAMES, st.just(1), max_size=4),
    key=st.sampled_from(["parameters", "inputSchema", "input_schema"]),
)
def test_a_call_is_accepted_if_and_only_if_its_names_are_legal(
    properties: Row, required: list[str], more: Any, arguments: Row, key: str
) -> None:
    schema: Row = {"type": "object", "properties": properties}
    schema["required"] = [name for name in required if name in properties]
    if more is not None:
        schema["additionalProperties"] = more
    names = {**schema, "properties": dict.fromkeys(properties, True)}
    # A tool without the keyword takes what it lists: the audit is the stricter one there.
    names.setdefault("additionalProperties", False)
    legal = jsonschema.Draft202012Validator(names).is_valid(arguments)
    try:
        row({"name": "f", key: schema}, arguments)
    except Rejected as rejected:
        assert not legal, rejected
    else:
        assert legal


def test_no_additional_properties_holds_beside_branches() -> None:
    schema = {
        "properties": {"a": {}},
        "anyOf": [{"required": ["a"]}],
        "additionalProperties": False,
    }
    with pytest.raises(Rejected, match="unknown_argument"):
        row({"name": "f", "parameters": schema}, {"b": 1})


def tool_row(parameters: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    return {
        "messages": [
            {"role": "user", "content": "Do it."},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}],
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/Place", "$defs": {"Place": {"type": "object", "required": ["city"]}}},
        {"type": "object", "allOf": [{"required": ["city"]}, {"required": ["day"]}]},
    ],
)
def test_what_a_reference_or_a_part_of_allof_requires_is_required(parameters: Any) -> None:
    assert convert("messages", tool_row(parameters, {"city": "Oslo", "day": 1}), "r")
    with pytest.raises(Rejected, match="missing_required_argument"):
        convert("messages", tool_row(parameters, {"day": 1}), "r")


def test_references_in_a_circle_end() -> None:
    circle = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A", "required": ["city"]}}}
    assert convert("messages", tool_row(circle, {"city": "Oslo"}), "r")


def test_a_schema_that_only_counts_properties_leaves_their_names_open() -> None:
    counted = {"type": "object", "minProperties": 1, "description": "Any keys."}
    row = convert("messages", tool_row(counted, {"city": "Oslo"}), "r")
    assert row["tools"][0]["function"]["parameters"]["properties"] == {}


def test_words_about_a_schema_are_no_parameters_but_types_written_as_text_are() -> None:
    told = {"title": "Weather", "description": "Where.", "city": {"type": "string"}}
    typed = {"title": "str", "description": "string, optional"}
    names = [
        set(
            convert("messages", tool_row(p, {}), "r")["tools"][0]["function"]["parameters"][
                "properties"
            ]
        )
        for p in (told, typed)
    ]
    assert names == [{"city"}, {"title", "description"}]


def test_properties_that_are_a_list_are_malformed() -> None:
    listed = {"type": "object", "properties": [{"name": "city", "type": "string"}]}
    with pytest.raises(Rejected, match="the properties of 'f'"):
        convert("messages", tool_row(listed, {}), "r")


def test_geminis_function_declarations_are_read() -> None:
    row = tool_row({}, {"city": "Oslo"})
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    row["tools"] = [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]
    assert convert("messages", row, "r")["tools"][0]["function"]["name"] == "f"
