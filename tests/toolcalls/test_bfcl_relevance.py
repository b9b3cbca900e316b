"""Rows where the question is only whether there is a call."""

from typing import Any

import pytest

from experiments.toolcalls import bfcl

Row = dict[str, Any]


@pytest.mark.parametrize("category", ["irrelevance", "live_irrelevance"])
def test_irrelevance_is_right_without_a_call_and_a_broken_call_is_marked(category: str) -> None:
    def of(output: Any, format: str) -> tuple[bool, str | None, bool]:
        verdict = bfcl.check(category, [], None, output, format)
        return verdict.valid, verdict.error_type, verdict.malformed

    called = (False, "irrelevance_error:decoder_success", False)
    assert of([{"any_name": "{}"}], "fc") == called
    assert of("[f()]", "python") == called
    assert of('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', "tool_call") == called
    assert of([], "fc") == (True, None, False)
    for format in bfcl.FORMATS:
        assert of("No.", format) == (True, None, False)
    broken: list[list[Row]] = [[{"f": "{"}], [{"f": "3"}], [{}]]
    for answer in broken:
        assert of(answer, "fc") == (True, None, True)
    assert of("[f(x=]", "python") == (True, None, True)
    for text in ("<tool_call>\n{\n</tool_call>", "<tool_call>\n{"):
        assert of(text, "tool_call") == (True, None, True)


def test_relevance_is_right_with_any_call() -> None:
    def of(output: Any, format: str) -> str | None:
        return bfcl.check("live_relevance", [], None, output, format).error_type

    assert of([{"any_name": "{}"}], "fc") is None
    for output, format in (([], "fc"), ("No.", "python"), ([{"f": "{"}], "fc"), ([{}], "fc")):
        assert of(output, format) == "relevance_error:decoder_failed"
