"""What holds for every answer: order, changed arguments, arbitrary text, any format."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.toolcalls import bfcl
from experiments.toolcalls.bfcl import FORMATS, Verdict
from support.bfcl_golds import answer, as_fc, as_python, as_tags

Row = dict[str, Any]
WRITERS = {"fc": as_fc, "tool_call": as_tags, "python": as_python}
PARALLEL = ("parallel", "parallel_multiple", "live_parallel", "live_parallel_multiple")

# Marks are left out: two texts that differ in them alone are one text to the rules.
words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)
numbers = st.integers(-1000, 1000)
floats = st.floats(-1000, 1000, allow_nan=False)
VALUES: dict[str, tuple[Row, st.SearchStrategy[Any]]] = {
    "text": ({"type": "string"}, words),
    "whole": ({"type": "integer"}, numbers),
    "real": ({"type": "float"}, floats),
    "flag": ({"type": "boolean"}, st.booleans()),
    "list": ({"type": "array", "items": {"type": "integer"}}, st.lists(numbers, max_size=3)),
    "texts": ({"type": "array", "items": {"type": "string"}}, st.lists(words, max_size=3)),
    "dict": ({"type": "dict"}, st.dictionaries(words, numbers, max_size=3)),
    "dicts": (
        {"type": "array", "items": {"type": "dict"}},
        st.lists(st.dictionaries(words, numbers, max_size=2), max_size=2),
    ),
    "pair": ({"type": "tuple", "items": {"type": "float"}}, st.lists(floats, max_size=3)),
}
DOC = {
    "name": "space.f",
    "parameters": {
        "type": "dict",
        "properties": {name: kind for name, (kind, _) in VALUES.items()},
        "required": list(VALUES),
    },
}
arguments = st.fixed_dictionaries({name: values for name, (_, values) in VALUES.items()})


def allowed(value: Any) -> Any:
    """Write a value as gold does: inside dicts, each key has a list of allowed values."""
    if isinstance(value, dict):
        return {key: [item] for key, item in value.items()}
    if isinstance(value, list):
        return [allowed(item) if isinstance(item, dict) else item for item in value]
    return value


def gold(*calls: Row) -> list[Row]:
    return [{"space.f": {name: [allowed(value)] for name, value in call.items()}} for call in calls]


def check(category: str, wanted: list[Row], calls: list[Row], format: str) -> Verdict:
    output = WRITERS[format]([{"space.f": call} for call in calls])
    return bfcl.check(category, [DOC], wanted, output, format)


@pytest.mark.slow
@given(
    calls=st.lists(arguments, min_size=1, max_size=4, unique_by=json.dumps),
    data=st.data(),
    format=st.sampled_from(FORMATS),
    category=st.sampled_from(PARALLEL),
)
def test_the_order_of_parallel_calls_and_of_arguments_never_matters(
    calls: list[Row], data: st.DataObject, format: str, category: str
) -> None:
    shuffled = [
        dict(data.draw(st.permutations(list(call.items()))))
        for call in data.draw(st.permutations(calls))
    ]
    assert check(category, gold(*calls), shuffled, format) == Verdict(True)


@given(call=arguments, format=st.sampled_from(FORMATS))
def test_gold_is_right_against_itself(call: Row, format: str) -> None:
    wanted = gold(call)
    output = WRITERS[format](answer([DOC], wanted))
    for category in ("simple_python", "multiple", "parallel"):
        assert bfcl.check(category, [DOC], wanted, output, format).valid


@given(
    call=arguments,
    name=st.sampled_from(list(VALUES)),
    format=st.sampled_from(FORMATS),
    category=st.sampled_from(["simple_python", "live_multiple", "parallel"]),
)
def test_a_renamed_dropped_or_additional_argument_is_always_noticed(
    call: Row, name: str, format: str, category: str
) -> None:
    dropped = {key: value for key, value in call.items() if key != name}
    for changed in (dropped, dropped | {name + "_": call[name]}, call | {"more": 1}):
        assert not check(category, gold(call), [changed], format).valid
    assert not check(category, gold(call), [], format).valid
    assert not check(category, gold(call), [call, call], format).valid


def retyped(value: Any) -> list[Any]:
    """Return values that look alike and have another type."""
    if isinstance(value, bool):
        return [int(value), str(value), None, [value]]
    if isinstance(value, int):
        return [float(value), str(value), None, [value]]
    if isinstance(value, float):
        return [str(value), None, [value]]
    if isinstance(value, str):
        return [[value], {"text": value}, None]
    return [json.dumps(value), None, {"items": value}] if isinstance(value, list) else [[value], ""]


@given(
    call=arguments,
    name=st.sampled_from(list(VALUES)),
    format=st.sampled_from(FORMATS),
    category=st.sampled_from(["simple_python", "live_multiple", "parallel"]),
)
def test_a_retyped_argument_is_always_noticed(
    call: Row, name: str, format: str, category: str
) -> None:
    for value in retyped(call[name]):
        verdict = check(category, gold(call), [call | {name: value}], format)
        assert not verdict.valid
        assert category == "parallel" or str(verdict.error_type).startswith("type_error:")


@given(call=arguments, other=arguments, name=st.sampled_from(list(VALUES)))
def test_another_value_is_always_noticed(call: Row, other: Row, name: str) -> None:
    changed = call | {name: other[name]}
    assert check("simple_python", gold(call), [changed], "fc").valid == (call[name] == other[name])


json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
pieces = st.lists(
    st.sampled_from([
        "<tool_call>", "</tool_call>", "\n", '{"name": "space.f", "arguments": ', "{}", "}", "[",
        "]", "(", ")", "space.f", "x=", "1", "**", "*", "'", '"', ",", "</think>", "\\", "{", ":",
        "lambda", "-", "9", "<<", "None", "\ud800", "\0",
    ]),
    max_size=25,
).map("".join)  # fmt: skip
outputs = st.one_of(
    st.text(st.characters(), max_size=60),  # lone surrogates are among them
    st.binary(max_size=60),
    pieces,
    json_values,
    st.lists(st.dictionaries(st.sampled_from(["space.f", "g"]), st.text() | pieces, max_size=2)),
)


@given(output=outputs, category=st.sampled_from(bfcl.categories()), format=st.sampled_from(FORMATS))
def test_scoring_never_raises_on_any_answer(output: Any, category: str, format: str) -> None:
    verdict = bfcl.check(
        category, [DOC], gold({"text": "a", "whole": 1}) * 2, output, format, False
    )
    assert verdict.valid == (verdict.error_type is None)
    # This gold wants two calls with all arguments, which no such answer holds.
    assert not (verdict.valid and bfcl.needs_gold(category))


@given(docs=json_values, wanted=json_values, category=st.sampled_from(bfcl.categories()))
def test_scoring_never_raises_on_any_description_or_gold(
    docs: Any, wanted: Any, category: str
) -> None:
    output = [{"f": '{"x": [1, {"a": null}], "y": "z"}'}]
    verdict = bfcl.check(category, docs, wanted, output, "fc")
    assert not (verdict.valid and bfcl.needs_gold(category))


kinds = st.sampled_from([*VALUES])


@given(kind=kinds, options=st.lists(json_values, max_size=3), value=json_values)
def test_scoring_never_raises_on_any_allowed_values(
    kind: str, options: list[Any], value: Any
) -> None:
    doc = {"name": "f", "parameters": {"properties": {"x": VALUES[kind][0]}, "required": []}}
    output = [{"f": json.dumps({"x": value})}]
    verdict = bfcl.check("simple_python", [doc], [{"f": {"x": options}}], output, "fc")
    assert verdict.valid == (verdict.error_type is None)


@pytest.mark.parametrize("format", FORMATS)
def test_a_list_nested_ten_thousand_deep_is_never_right(format: str) -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    text = "[" * 10_000 + "]" * 10_000
    call = f'<tool_call>\n{{"name": "space.f", "arguments": {{"list": {text}}}}}\n</tool_call>'
    for output in (deep, text, call, f"[space.f(list={text})]", [{"space.f": text}]):
        for category in ("simple_python", "multiple", "parallel", "live_relevance"):
            assert not bfcl.check(category, [DOC], gold({"list": [1]}), output, format).valid
