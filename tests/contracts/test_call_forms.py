"""Calls are read in the form in which the model's own template writes them, for every family."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import models
from experiments.data import Renderer
from experiments.toolcalls.parser import CallForm, from_facts, parse, parse_tolerant, same_value
from support.call_templates import SHIPPED, TEMPLATES
from support.chats import call, row, says, tokenizer

ENDS = ["<|im_end|>", "<|eot_id|>", "<|call|>", "<|return|>", "<turn|>", "<|tool_response>"]
TYPES: dict[str, Any] = {
    "city": {"type": "string"}, "days": {"type": "integer"}, "share": {"type": "number"},
    "metric": {"type": "boolean"}, "tags": {"type": "array"}, "near": {"type": "object"},
}  # fmt: skip
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}
    for name in ("get_weather", "get_time", "stop")
    for parameters in [{"type": "object", "properties": TYPES}]
]
NESTED = {
    "city": 'Ålesund "by" \\ the\nsea, it\'s 7',
    "days": 3,
    "share": 0.25,
    "metric": True,
    "tags": [1, "a", None, {"deep": [False]}],
    "near": {"city": "Oslo", "km": -1.5e-3},
}
PLAIN = {"city": "Oslo", "days": 2}
NAMES = [*TEMPLATES, *SHIPPED]
renderers: dict[str, Renderer] = {}


def renderer(name: str) -> Renderer:
    """Return a renderer of the embedded tokenizer with a template, its end tokens added."""
    if name not in renderers:
        template = TEMPLATES[name][0] if name in TEMPLATES else name
        own = tokenizer(models.BASES / "tiny", template)
        own.add_special_tokens({"bos_token": "<s>"})
        own.add_tokens(ENDS[1:], special_tokens=True)
        renderers[name] = Renderer(own, own.convert_tokens_to_ids(ENDS))
    return renderers[name]


def form_of(name: str) -> CallForm:
    form = renderer(name).call_form
    assert form is not None
    return form


def written(name: str, calls: list[dict[str, Any]], text: str = "") -> str:
    made = [c | {"id": f"abcdefgh{i}"} for i, c in enumerate(calls)]
    turn = says("assistant", text, tool_calls=made)
    return renderer(name).turns(row(says("user", "Go."), turn, tools=TOOLS))[-1]


def plain(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["function"] for one in calls]


@pytest.mark.parametrize("name", NAMES)
def test_the_form_is_found_by_rendering(name: str) -> None:
    form = form_of(name)
    assert form.name == (TEMPLATES[name][1] if name in TEMPLATES else SHIPPED[name])
    if name in TEMPLATES:
        assert form.several is TEMPLATES[name][2] or form.name == "hermes_tags"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", [PLAIN, NESTED, {}], ids=["plain", "nested", "empty"])
def test_what_the_template_writes_is_read_back(name: str, arguments: dict[str, Any]) -> None:
    calls = [call("get_weather", **arguments)]
    answer = parse(written(name, calls), form_of(name), TOOLS)
    assert not answer.malformed, answer.defects
    assert same_value(answer.calls, plain(calls))
    assert answer.content == ""


@pytest.mark.parametrize("name", NAMES)
def test_several_calls_of_a_turn_keep_their_order(name: str) -> None:
    form = form_of(name)
    if not form.several or (name in TEMPLATES and not TEMPLATES[name][2]):
        pytest.skip("the template writes one call a turn")
    calls = [call("get_time"), call("get_weather", **PLAIN), call("get_time", city="Bergen")]
    answer = parse(written(name, calls), form, TOOLS)
    assert (answer.malformed, answer.calls) == (False, plain(calls))


@pytest.mark.parametrize("name", NAMES)
def test_text_beside_a_call_is_its_content(name: str) -> None:
    form = form_of(name)
    if not form.text:
        pytest.skip("the template writes no text beside calls")
    calls = [call("get_weather", **PLAIN)]
    answer = parse(written(name, calls, "Let me look."), form, TOOLS)
    assert (answer.malformed, answer.calls) == (False, plain(calls))
    assert "Let me look." in answer.content


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["It is 7 degrees.", "Which city?", "Use {braces} [or] <these>."])
def test_prose_is_never_a_call(name: str, text: str) -> None:
    answer = parse(text, form_of(name), TOOLS)
    assert (answer.calls, answer.content, answer.malformed) == ([], text, False)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_breaks_off_is_malformed_and_never_prose(name: str) -> None:
    whole = written(name, [call("get_weather", **PLAIN)])
    form = form_of(name)
    start = len((form.start + form.before).strip()) + len(whole) - len(whole.lstrip())
    if form.name == "tokenizer_schema":
        start = whole.index("get_weather")
    for length in range(start + 10, len(whole.rstrip()) - 1):
        answer = parse(whole[:length], form, TOOLS)
        assert answer.malformed, whole[:length]


@pytest.mark.parametrize("name", NAMES)
def test_a_call_in_the_form_of_another_model_is_read_tolerantly_only(name: str) -> None:
    form = form_of(name)
    if form.name == "hermes_tags":
        pytest.skip("it is its own")
    other = '<tool_call>\n{"name": "get_time", "arguments": {"city": "Oslo"}}\n</tool_call>'
    strict, tolerant = parse(other, form, TOOLS), parse_tolerant(other, ["get_time"], form, TOOLS)
    assert strict.malformed and not strict.calls
    assert tolerant.calls == [{"name": "get_time", "arguments": {"city": "Oslo"}}]
    assert tolerant.defects and not tolerant.malformed


@pytest.mark.parametrize("name", NAMES)
def test_a_form_is_plain_data_that_a_record_holds(name: str) -> None:
    form = form_of(name)
    assert from_facts(json.loads(json.dumps(form.facts()))) == form


def test_the_response_template_of_a_tokenizer_is_used_where_it_has_one() -> None:
    own = copy.deepcopy(tokenizer(models.BASES / "tiny", TEMPLATES["hermes"][0]))
    own.response_template = {
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {
            "tool_calls": {
                "open": "<tool_call>",
                "close_pattern": r"</tool_call>\s*",
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": "{content}"},
            },
            "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
        },
    }
    form = Renderer(own, [own.convert_tokens_to_ids("<|im_end|>")]).call_form
    assert form is not None and form.name == "tokenizer_schema"
    calls = [call("get_weather", **NESTED), call("stop")]
    assert parse(written("hermes", calls), form, TOOLS).calls == plain(calls)
    assert from_facts(json.loads(json.dumps(form.facts()))) == form
    for broken in ('<tool_call>{"name": "stop", "arguments": {}}', "<tool_call>stop</tool_call>"):
        assert parse(broken, form, TOOLS).malformed


@pytest.mark.parametrize("template", ["gemma3", "phi3", "smolvlm", "cohere"])
def test_a_template_that_writes_no_calls_has_no_form(template: str) -> None:
    own = tokenizer(models.BASES / "tiny", template)
    assert Renderer(own, [own.convert_tokens_to_ids("<|im_end|>")]).call_form is None


def test_a_record_without_a_form_is_of_hermes_tags() -> None:
    assert from_facts(None).name == "hermes_tags"
    assert from_facts({}) == from_facts({"name": "hermes_tags"} | from_facts(None).facts())


def test_an_answer_in_json_is_no_call_where_no_tools_are_offered() -> None:
    text = '{"name": "Ada", "parameters": {"age": 36}}'
    answer = parse(text, form_of("llama_3"), [])
    assert (answer.calls, answer.content, answer.malformed) == ([], text, False)
    assert parse(text, form_of("llama_3"), TOOLS).calls


@pytest.mark.parametrize("text", ['{"name": "Ada", "age": 36}', '{"city": "Oslo"}', "[1, 2]"])
def test_json_without_the_keys_of_a_call_is_an_answer(text: str) -> None:
    answer = parse(text, form_of("llama_3"), TOOLS)
    assert (answer.calls, answer.content, answer.malformed) == ([], text, False)


@pytest.mark.parametrize(
    "text",
    [
        'Sure: {"name": "get_time", "parameters": {}}',
        '{"name": "get_time", "arguments": {}}',
        '{"name": "get_time", "parameters": {}} {"name": "get_time", "parameters": {}}',
        '{"name": "get_time", "parameters": "x"}',
        '<|python_tag|>{"name": "get_time", "parameters": {}}',
        '[{"name": "get_time", "parameters": {}}]',
    ],
)
def test_what_the_bare_form_does_not_write_is_no_call(text: str) -> None:
    answer = parse(text, form_of("llama_3"), TOOLS)
    assert answer.malformed or (not answer.calls and text.startswith("Sure"))


def test_types_that_text_leaves_open_are_the_tools() -> None:
    for value in ("7", "true", "null", "[1]", " x ", ""):
        calls = [call("get_weather", city=value)]
        for name in ("qwen_3_coder", "glm", "minimax"):
            found = parse(written(name, calls), form_of(name), TOOLS)
            assert found.calls == plain(calls), (name, value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
CALLS = st.lists(
    st.builds(
        lambda name, arguments: call(name, **arguments),
        st.sampled_from(["get_weather", "stop", "a_b-c.d"]),
        st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True), VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)
LOSSLESS = [name for name in TEMPLATES if TEMPLATES[name][1] != "xml_parameters"]


@pytest.mark.parametrize("name", LOSSLESS)
@settings(max_examples=25, deadline=None)
@given(calls=CALLS)
def test_any_calls_are_read_back_from_json(name: str, calls: list[dict[str, Any]]) -> None:
    given_ = calls if TEMPLATES[name][2] else calls[:1]
    answer = parse(written(name, given_), form_of(name), TOOLS)
    assert not answer.malformed, answer.defects
    assert same_value(answer.calls, plain(given_))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=60), cut=st.integers(0, 80))
def test_any_text_is_read_without_an_error(name: str, text: str, cut: int) -> None:
    form = form_of(name)
    parse(text + form.example[:cut] + text, form, TOOLS)
    parse_tolerant(form.example[:cut] + text, ["get_time"], form, TOOLS)
