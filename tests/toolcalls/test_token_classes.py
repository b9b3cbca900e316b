"""A trained token is put into the class of what it says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.toolcalls.token_classes import CLASSES, of_characters, of_tokens


def spelled(text: str, name: str, **options: Any) -> str:
    classes = of_characters(text, **options)
    return "".join(c if one == name else "|" for c, one in zip(text, classes, strict=True))


CALL = (
    'Sure.\n<tool_call>\n{"name": "get_weather", "arguments": '
    '{"city": "São Paulo", "days": 2, "o": {"k": [true, "a\\"b"]}}}\n</tool_call>'
)


def words(text: str, name: str, **options: Any) -> list[str]:
    return [word for word in spelled(text, name, **options).split("|") if word]


def test_names_and_values_of_a_call_are_told_apart() -> None:
    assert words(CALL, "function_name") == ["get_weather"]
    assert words(CALL, "argument_name") == ["city", "days", "o", "k"]
    assert words(CALL, "argument_value") == ["São Paulo", "2", "true", 'a\\"b']
    assert words(CALL, "prose") == ["Sure.\n"]


def test_a_call_is_found_without_tags_and_with_parameters() -> None:
    text = '{"name": "f", "parameters": {"x": "y"}}'
    assert words(text, "function_name") == ["f"]
    assert words(text, "argument_value") == ["y"]


def test_an_object_in_prose_is_prose_unless_the_answer_is_json() -> None:
    text = 'It is {"age": 36}.'
    assert words(text, "prose") == [text]
    assert words(text, "argument_name", is_json=True) == ["age"]
    assert words(text, "argument_value", is_json=True) == ["36"]


def test_broken_json_is_prose() -> None:
    assert set(of_characters('{"name": "f", "arguments": ')) == {"prose"}


def test_a_token_over_two_classes_belongs_to_the_larger_and_never_to_syntax_on_a_tie() -> None:
    text = '{"name": "f", "arguments": {"x": 12}}'
    at = text.index('f"')
    assert of_tokens(text, [(at - 1, at + 1), (at - 2, at + 1), (at, at)]) == [
        "function_name",
        "json_syntax",
        "json_syntax",
    ]


@given(st.text(max_size=200))
def test_any_text_has_a_class_for_each_character(text: str) -> None:
    classes = of_characters(text + CALL + text)
    assert len(classes) == 2 * len(text) + len(CALL)
    assert set(classes) <= set(CLASSES)


@pytest.mark.parametrize("depth", [200, 5000])
def test_deep_nesting_is_no_error(depth: int) -> None:
    of_characters('{"a": ' * depth + "1" + "}" * depth, is_json=True)
