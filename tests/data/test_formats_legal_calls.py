"""Generated JSON schemas: no legal call is rejected, no illegal one accepted, none is changed.

A conversion checks names, since values are labels: a call is legal if any values of its arguments
fit the schema, which the reference tries out. Each name has one schema of its value in a whole
tool, so that the parts of a schema never contradict each other about a value.
"""

import itertools
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.formats import Rejected, convert
from experiments.toolcalls import schemas

Row = dict[str, Any]
NAMES = ("a", "b", "type", "x1")
NESTED = {
    "type": "object",
    "properties": {"k": {"type": "integer", "minimum": 0}, "more": {"$ref": "#/$defs/Value"}},
    "required": ["k"],
    "additionalProperties": False,
}
DEFINED = {"Value": {"type": ["string", "null"], "maxLength": 3}}
OF_VALUES: list[Any] = [
    True,
    {},
    {"type": "string", "enum": ["s", "long text"], "description": "What."},
    {"enum": ["s", None, 2]},
    {"const": None},
    {"const": "s"},
    {"type": ["integer", "null"], "default": None},
    {"type": "number", "minimum": 0.5},
    {"type": "boolean", "default": False},
    {"$ref": "#/$defs/Value"},
    {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Count"},
    {"oneOf": [{"type": "string"}, {"type": "array"}]},
    {"allOf": [{"type": "number"}, {"not": {"type": "integer"}}]},
    NESTED,
    {"type": "array", "items": NESTED, "minItems": 1},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 1},
    {"type": "object", "patternProperties": {"^k": {"type": "integer"}}, "minProperties": 1},
    {"type": "object", "additionalProperties": {"type": "string"}},
]
VALUES: list[Any] = ["s", 2, 2.5, None, True, [], [{"k": 1}], {"k": 1}, {"z": "s"}]


@st.composite
def objects(draw: Any, values: Row, depth: int = 2) -> Any:
    """Draw what a schema says of the names of an object; `values` tells their schemas."""
    known = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    schema: Row = {"properties": {name: values[name] for name in known}}
    if draw(st.booleans()):
        schema["required"] = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2))
    if draw(st.booleans()):
        schema["additionalProperties"] = draw(st.sampled_from([False, True, {}]))
    if draw(st.booleans()):
        pattern = draw(st.sampled_from([{"^x": values["x1"]}, {"^[ab]$": True}, {"^x": False}]))
        schema["patternProperties"] = pattern
    schema |= draw(
        st.sampled_from(
            [
                *({}, {}, {"minProperties": 1}, {"maxProperties": 2}, {"$comment": "None."}),
                {"propertyNames": {"maxLength": 1}},
                {"dependentRequired": {"a": ["b"]}},
                {"unevaluatedProperties": False},
            ]
        )
    )
    if depth and draw(st.booleans()):
        inner = objects(values, depth - 1)
        several = st.lists(inner, min_size=1, max_size=2)
        key = draw(
            st.sampled_from(["allOf", "anyOf", "allOf", "anyOf", "dependentSchemas", "$ref"])
        )
        if key == "$ref":
            schema["$ref"] = "#/$defs/Place"
        else:
            schema[key] = {"a": draw(inner)} if key == "dependentSchemas" else draw(several)
    return schema


@st.composite
def of_names_alone(draw: Any) -> Row:
    """Draw a keyword whose schemas ask for names and for nothing else."""
    asked = [{"required": [name]} for name in NAMES]
    one = st.sampled_from([*asked, {"required": ["a", "b"]}, {"maxProperties": 1}])
    key = draw(st.sampled_from(["not", "oneOf", "if"]))
    if key == "oneOf":
        return {"oneOf": draw(st.lists(one, min_size=1, max_size=3))}
    return {key: draw(one)} | ({"then": draw(one), "else": draw(one)} if key == "if" else {})


@st.composite
def tools(draw: Any) -> Row:
    values = {name: draw(st.sampled_from([*OF_VALUES, False])) for name in NAMES}
    schema = draw(objects(values))
    if draw(st.booleans()):
        schema |= draw(of_names_alone())
    if not schema["properties"] and draw(st.booleans()):
        del schema["properties"]
    place = draw(objects(values, depth=0))
    return {"type": "object", **schema, "$defs": DEFINED | {"Place": place}}


def convert_call(schema: Row, arguments: Row, key: str = "parameters") -> Row:
    call = {"function": {"name": "f", "arguments": json.dumps(arguments)}}
    messages = [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [call]}]
    return convert("messages", {"messages": messages, "tools": [{"name": "f", key: schema}]}, "r")


def some_values_fit(schema: Row, names: list[str]) -> bool:
    valid = jsonschema.Draft202012Validator(schema).is_valid
    return any(
        valid(dict(zip(names, chosen, strict=True)))
        for chosen in itertools.product(VALUES, repeat=len(names))
    )


CLOSING = {
    *("patternProperties", "unevaluatedProperties", "$ref", "anyOf", "oneOf", "allOf", "if", "not"),
    *("dependentSchemas", "minProperties", "propertyNames", "additionalProperties"),
    *("enum", "const"),
}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    schema=tools(),
    names=st.lists(st.sampled_from(NAMES), unique=True, max_size=3),
    key=st.sampled_from(["parameters", "inputSchema", "input_schema"]),
)
def test_a_call_is_accepted_if_and_only_if_some_values_of_its_arguments_fit(
    schema: Row, names: list[str], key: str
) -> None:
    asked = schema
    if CLOSING.isdisjoint(schema):  # such a tool takes what it lists: stricter than JSON Schema
        properties = dict.fromkeys(schema.get("required", []), True) | schema.get("properties", {})
        asked = schema | {"properties": properties, "additionalProperties": False}
    legal = some_values_fit(asked, names)
    try:
        convert_call(schema, dict.fromkeys(names, "s"), key)
    except Rejected as rejected:
        assert not legal, rejected
        assert rejected.reason in ("missing_required_argument", "unknown_argument")
    else:
        assert legal


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    schema=tools(),
    arguments=st.dictionaries(
        st.sampled_from(NAMES),
        st.sampled_from([*VALUES, "long text", [{"k": 0, "more": "long text"}]]),
        max_size=3,
    ),
)
def test_a_converted_schema_allows_the_values_that_the_file_allows(
    schema: Row, arguments: Row
) -> None:
    open_ended = {"name": "f", "parameters": schema}
    messages = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "ok"}]
    row = convert("messages", {"messages": messages, "tools": [open_ended]}, "r")
    made = row["tools"][0]["function"]["parameters"]
    wanted = jsonschema.Draft202012Validator(schema).is_valid(arguments)
    assert schemas.is_valid(made, arguments) == wanted


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(branches=st.lists(st.sampled_from(OF_VALUES), min_size=1, max_size=3), key=st.just("oneOf"))
def test_branches_that_values_tell_apart_reject_no_legal_call(
    branches: list[Any], key: str
) -> None:
    schema = {
        "type": "object",
        "$defs": DEFINED,
        key: [{"properties": {"a": value}, "required": ["a"]} for value in branches],
        "not": {"properties": {"b": {"const": 1}}, "required": ["b"]},
        "if": {"properties": {"a": {"const": "s"}}},
        "then": {"required": ["a"]},
        "else": {"required": ["type"]},
    }
    for names in (["a"], ["a", "b"], ["a", "type"]):
        if some_values_fit(schema, names):
            assert convert_call(schema, dict.fromkeys(names, "s"))


PLACE = {"Place": {"properties": {"city": {"type": "string"}}, "required": ["city"]}}


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"patternProperties": {"^x_": {}}, "additionalProperties": False}, {"y": 1}),
        ({"properties": {"a": {}}, "required": ["b"], "additionalProperties": False}, {"b": 1}),
        ({"properties": {"a": False, "b": True}, "additionalProperties": True}, {"a": 1}),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"c": 1}),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}),
        ({"propertyNames": {"pattern": "^x"}}, {"y": 1}),
        ({"minProperties": 1}, {}),
        ({"definitions": PLACE, "$ref": "#/definitions/Place"}, {}),
        (
            {"$defs": PLACE, "allOf": [{"$ref": "#/$defs/Place"}], "unevaluatedProperties": False},
            {"city": 1, "town": 1},
        ),
        ({"properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}, {"a": 1}),
        ({"not": {"required": ["a"]}}, {"a": 1}),
    ],
)
def test_a_call_that_no_values_make_legal_is_rejected(schema: Row, arguments: Row) -> None:
    with pytest.raises(Rejected, match=r"missing_required_argument|unknown_argument"):
        convert_call({"type": "object", **schema}, arguments)
    with pytest.raises(Rejected, match=r"missing_required_argument|unknown_argument"):
        convert_call(schema, arguments)


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"patternProperties": {"^x_": {}}, "additionalProperties": False}, {"x_1": None}),
        ({"definitions": PLACE, "$ref": "#/definitions/Place"}, {"city": "Oslo", "zip": 1}),
        ({"type": ["object", "null"], "additionalProperties": {"type": "string"}}, {"any": "a"}),
        ({"type": "object", "default": {}, "properties": {"a": {}}}, {"a": 1}),
        ({"$ref": "https://example.org/schema.json"}, {"any": 1}),
        ({"$ref": "#/$defs/Nowhere"}, {"any": 1}),
        ({"patternProperties": {"(": {}}, "additionalProperties": False}, {"any": 1}),
        ({"patternProperties": {"(a+)+$": {}}, "additionalProperties": False}, {"a" * 60 + "!": 1}),
        ({"enum": [{"a": 1}]}, {"a": 1}),
        ({"type": "dict", "$defs": PLACE, "$ref": "#/$defs/Place"}, {"city": "Oslo"}),
    ],
)
def test_what_a_schema_leaves_open_is_accepted(schema: Row, arguments: Row) -> None:
    row = convert_call(schema, arguments)
    assert row["messages"][-1]["tool_calls"][0]["function"]["arguments"] == arguments


def test_schemas_that_refer_to_each_other_many_times_are_read_at_once() -> None:
    defined = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10, "required": [f"r{n}"]}
        for n in range(12)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": defined}
    assert convert_call(schema, {f"r{n}": 1 for n in range(12)})


def test_types_of_another_language_are_read_in_every_part_of_a_schema() -> None:
    schema = {
        "type": "dict",
        "properties": {"a": {"type": "dict", "additionalProperties": {"type": "float"}}},
        "patternProperties": {"^x": {"type": "str"}},
        "$defs": {"P": {"type": "dict", "properties": {"b": {"type": "list"}}}},
    }
    made = convert_call(schema, {})["tools"][0]["function"]["parameters"]
    assert schemas.problem(made) is None
    assert schemas.is_valid(made, {"a": {"n": 1.5}, "x": "text"})
    assert not schemas.is_valid(made, {"x": 1})


def test_nulls_of_names_that_a_pattern_knows_are_labels() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "patternProperties": {"^x": {"type": ["string", "null"]}},
        "additionalProperties": False,
    }
    arguments = {"a": "s", "x1": None, "of_another_tool": None}
    call = {"function": {"name": "f", "arguments": arguments}}
    messages = [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [call]}]
    row = convert(
        "messages", {"messages": messages, "tools": [{"name": "f", "parameters": schema}]}, "r"
    )
    found = row["messages"][-1]["tool_calls"][0]["function"]["arguments"]
    assert found == {"a": "s", "x1": None}
