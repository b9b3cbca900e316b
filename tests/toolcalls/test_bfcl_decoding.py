"""What is read from an answer, what is skipped and what is given up, in three formats."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experiments.errors import ConfigError
from experiments.toolcalls.bfcl.decoding import _scan, decode

FAILED = "ast_decoder:decoder_failed"
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("output", "calls"),
    [
        ([{"f": '{"x": 1}'}, {"g": "{}"}], [{"f": {"x": 1}}, {"g": {}}]),
        ([], []),
        ("", []),
        ([{"f": '{"x": 1, "x": 2}'}], [{"f": {"x": 2}}]),
        ([{"f": '{"x": 1}', "g": "{}"}], [{"f": {"x": 1}}]),
    ],
)
def test_fc_lists_are_read(output: object, calls: object) -> None:
    assert decode(output, "fc").calls == calls


@pytest.mark.parametrize(
    "output",
    [
        "I cannot do that.", None, 3, {"f": "{}"}, [{}], ["f"], [[]], [{"f": "{x"}], [{"f": {}}],
        [{"f": None}], [{"f": "[" * 10_000}], b"f", [{"f": '{"x": ' + "9" * 5000 + "}"}],
    ],
)  # fmt: skip
def test_fc_answers_that_cannot_be_read_fail_to_decode(output: object) -> None:
    decoded = decode(output, "fc")
    assert (decoded.calls, decoded.error_type) == (None, FAILED)
    assert decoded.malformed == (not isinstance(output, str))


@pytest.mark.parametrize("arguments", ["[]", "3", "null", '"x"', "NaN"])
def test_fc_arguments_that_are_no_object_have_the_wrong_shape(arguments: str) -> None:
    decoded = decode([{"f": arguments}], "fc")
    assert decoded.error_type == "ast_decoder:decoder_wrong_output_format"
    assert decoded.malformed


@pytest.mark.parametrize(
    ("text", "calls", "malformed"),
    [
        (CALL, [{"f": {"x": 1}}], False),
        ("Sure.\n" + CALL + "\nDone.", [{"f": {"x": 1}}], False),
        (CALL + CALL, [{"f": {"x": 1}}] * 2, False),
        ("No.", [], False),
        ("", [], False),
        ("<think>" + CALL + "</think>no call", [], False),
        ("<think>a</think>b</think>\n\n" + CALL, [{"f": {"x": 1}}], False),
        ("<tool_call>\n{broken\n</tool_call>" + CALL, [{"f": {"x": 1}}], True),
        ("<tool_call>\n{broken", [], True),
        (CALL + "\n<tool_call>", [{"f": {"x": 1}}], True),
        ("</tool_call>", [], True),
        ('<tool_call>{"name": "f", "arguments": {}}</tool_call>', [], True),
        ("<tool_call>\n</tool_call>", [], True),
        ("<tool_call>\n" + CALL, [], True),
        ("<tool_call>\n" + "[" * 10_000 + "\n</tool_call>", [], True),
        ('<tool_call>\n{"name": null, "arguments": {}}\n</tool_call>', [{None: {}}], True),
    ],
)
def test_tags_are_read_and_a_block_that_is_no_json_is_skipped(
    text: str, calls: object, malformed: bool
) -> None:
    decoded = decode(text, "tool_call")
    assert (decoded.calls, decoded.error_type, decoded.malformed) == (calls, None, malformed)


@pytest.mark.parametrize(
    "inside",
    ["[]", "3", '{"name": "f"}', '{"arguments": {}}', '{"name": "f", "arguments": "{}"}',
     '{"name": [], "arguments": {}}', '{"name": "f", "arguments": null}'],
)  # fmt: skip
def test_a_block_that_is_json_but_no_call_fails_the_whole_answer(inside: str) -> None:
    decoded = decode(CALL + f"\n<tool_call>\n{inside}\n</tool_call>", "tool_call")
    assert (decoded.calls, decoded.error_type, decoded.malformed) == (None, FAILED, True)


PIECES = ["<tool_call>", "</tool_call>", "\n", "<tool_call>\n", "\n</tool_call>", "a", "{}"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example("<tool_call>\n\n</tool_call>\n</tool_call>")
def test_the_tag_scanner_finds_what_the_regular_expression_finds(text: str) -> None:
    found = re.findall(r"<tool_call>\n(.*?)\n</tool_call>", text, re.DOTALL)
    blocks, prose = _scan(text)
    assert blocks == found
    assert sum(map(len, blocks + prose)) + 25 * len(blocks) == len(text)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[f(x=1)]", [{"f": {"x": 1}}]),
        ("f(x=1), g.h.i(y='a')", [{"f": {"x": 1}}, {"g.h.i": {"y": "a"}}]),
        ("```[f(x=1)]```\n", [{"f": {"x": 1}}]),
        ("[f(x=1)", [{"f": {"x": 1}}]),
        ("", []),
        ("[]", []),
        ("[f(1, 2, x=3)]", [{"f": {"x": 3}}]),
        ("[f(1)]", [{"f": {}}]),
        ("[f(x=-1, y=-2.5)]", [{"f": {"x": -1, "y": -2.5}}]),
        ("[f(x=+1, y=~1, z=not True)]", [{"f": {"x": -1, "y": -1, "z": -1}}]),
        ("[f(x=true, y=True, z=None)]", [{"f": {"x": "true", "y": True, "z": None}}]),
        ("[f(x=...)]", [{"f": {"x": "..."}}]),
        ("[f(x=2*3+1, y=1/4, z=-2+1, w=2**10)]", [{"f": {"x": 7, "y": 0.25, "z": -1, "w": 1024}}]),
        ("[f(x='a'+'b', y=[0]*2)]", [{"f": {"x": "ab", "y": [0, 0]}}]),
        ("[f(x=[1, (2, -3)], y={'a': [b]})]", [{"f": {"x": [1, (2, -3)], "y": {"a": ["b"]}}}]),
        ("[f(x=g(y=1))]", [{"f": {"x": {"g": {"y": 1}}}}]),
        ("[f(x=g(1,y))]", [{"f": {"x": "g(1, y)"}}]),
        ("[f(x=a.b[0], y=c[1:2])]", [{"f": {"x": "a.b[0]", "y": "c[1:2]"}}]),
        ("[f(**{'x': 1})]", [{"f": {None: {"x": 1}}}]),
        ("[f(x=1, x=2)]", [{"f": {"x": 2}}]),
        ("[f()(x=1), 'a'.g(y=2)]", [{"": {"x": 1}}, {"g": {"y": 2}}]),
        (r"[f(x='\d')]", [{"f": {"x": "\\d"}}]),
        ("[f(x='a' 'b')]", [{"f": {"x": "ab"}}]),
    ],
)
def test_python_calls_are_read(text: str, calls: object) -> None:
    decoded = decode(text, "python")
    assert (decoded.calls, decoded.error_type, decoded.malformed) == (calls, None, False)


BROKEN = [
    "[f(x=a.b)]", "[f(x=-a)]", "[f(x=-'a')]", "[f(x=--1)]", "[f(x=lambda: 1)]", "[f(x={1, 2})]",
    "[f(x=1 < 2)]", "[f(x=a + 1)]", "[f(x=f'{a}')]", "[f(x={[]: 1})]", "[f(x={**a})]", "[f(x=*a)]",
    "[f(x=1/0)]", "[f(x=9**9**9)]", "[f(x=1<<10**9)]", "[f(x='a'*10**9)]", "[f(x='%999999999d'%1)]",
    "[f(x=10**4000*10**4000*10**4000)]", "[f(x=10.0**400)]", "[f(x=[0]*3000+[0]*3000)]",
    "[f(x=1), 2]", "[f(x=1) for x in y]", "[f(x=1 y=2)]", "[f(x=1)]]", "[f", "[f(x='\ud800')]",
    "[f(x='a\0')]", "[" * 10_000, "[f(x=" + "(" * 10_000, "[f(x=" + "-" * 9000 + "1)]",
    "[f(x=" + "1+" * 9000 + "1)]", "[f" + "()" * 9000 + "]", "[f(x=" + "9" * 5000 + ")]",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_python_answers_that_cannot_be_read_fail_to_decode(text: str) -> None:
    decoded = decode(text, "python")
    assert (decoded.calls, decoded.error_type, decoded.malformed) == (None, FAILED, True)


@pytest.mark.parametrize("text", ["I cannot do that.", "Which city (or town)?", "no!"])
def test_prose_is_no_broken_python_call(text: str) -> None:
    decoded = decode(text, "python")
    assert (decoded.calls, decoded.error_type, decoded.malformed) == (None, FAILED, False)


@pytest.mark.parametrize("format", ["tool_call", "python"])
@pytest.mark.parametrize("output", [None, 3, [], {}, b"[f(x=1)]"])
def test_an_answer_that_is_no_text_fails_in_the_text_formats(format: str, output: object) -> None:
    assert decode(output, format).error_type == FAILED


def test_an_unknown_format_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="format 'pyton': did you mean 'python'"):
        decode("", "pyton")


PATHOLOGICAL = {
    "opened tags": "<tool_call>\n" * 1700,
    "closed tags": "\n</tool_call>" * 1500,
    "tag in tag": "<tool_call>\n{\n" * 700 + "\n</tool_call>" * 700,
    "brackets": "[" * 20_000,
    "blocks of brackets": ("<tool_call>\n" + "[" * 900 + "\n</tool_call>") * 20,
    "parentheses": "[f(x=" + "(" * 20_000,
    "balanced parentheses": "[f(x=" + "(" * 190 + "1" + ")" * 190 + ")" + ",f(x=1)" * 2500 + "]",
    "powers": "[f(x=[" + "9**9," * 4000 + "])]",
    "tower": "[f(x=" + "9**" * 6000 + "9)]",
    "repeats": "[f(x=[" + "[0]*500," * 2000 + "])]",
    "repeats in a sum": "[f(x=[" + "[0]*9+" * 3000 + "[0]])]",
    "minus signs": "[f(x=" + "-" * 20_000 + "1)]",
    "attributes": "[" + "a." * 10_000 + "f(x=1)]",
    "calls in calls": "[f(x=" + "g(" * 90 + "1" + ")" * 90 + ")" + ",h(y=g(1))" * 1900 + "]",
    "subscripts": "[f(x=a" + "[0]" * 6000 + ")]",
    "escapes": "[f(x='" + "\\d" * 9000 + "')]",
    "call begins": "a." * 10_000,
}


@pytest.mark.parametrize("format", ["fc", "tool_call", "python"])
@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_an_answer_of_20_kilobytes_never_takes_quadratic_time(name: str, format: str) -> None:
    text = PATHOLOGICAL[name]
    output = [{"f": text}] if format == "fc" else text
    began = time.process_time()
    decode(output, format)
    # About 30 ms on a quiet machine. Quadratic time takes far longer, an evaluated tower for ever.
    assert time.process_time() - began < 10
