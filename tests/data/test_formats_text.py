"""Text is never taken for structure: quoted marks and tags stay text, or reject the row."""

import json
from typing import Any

import pytest

from experiments.data.formats import Rejected, convert

Row = dict[str, Any]
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
GLAIVE = "SYSTEM: You have access to the following functions -\n" + json.dumps(TOOL)


def call(text: str) -> str:
    return json.dumps({"name": "f", "arguments": {"x": text}})


def arguments(row: Row) -> list[Any]:
    return [c["function"]["arguments"]["x"] for c in row["messages"][-1]["tool_calls"]]


def glaive(answer: str) -> Row:
    chat = f"USER: go\n\n\nASSISTANT: {answer} <|endoftext|>\n\n\n"
    return convert("glaive_v2", {"system": GLAIVE, "chat": chat}, "r")


def test_a_speaker_mark_in_a_sentence_of_glaive_is_text() -> None:
    said = "Each turn begins with ASSISTANT: or USER: in such a file."
    assert [m["content"] for m in glaive(said)["messages"]] == ["go", said]
    assert [m["content"] for m in glaive("a\nASSISTANT: b")["messages"]] == ["go", "a\nb"]


def test_a_mark_of_glaive_after_the_end_of_a_sentence_rejects_the_row() -> None:
    with pytest.raises(Rejected, match="leftover_marker"):
        glaive("One. ASSISTANT: Two.")


@pytest.mark.parametrize("text", ["<functioncall>", "a <functioncall> {b}", "ASSISTANT: x"])
def test_a_mark_inside_an_argument_of_glaive_is_text(text: str) -> None:
    payload = '{"name": "f", "arguments": \'' + json.dumps({"x": text}) + "'}"
    assert arguments(glaive(f"<functioncall> {payload}")) == [text]


def test_a_system_text_about_access_to_something_stays() -> None:
    raw = {"system": "SYSTEM: You have no access to the internet.", "chat": "USER: a\nASSISTANT: b"}
    row = convert("glaive_v2", raw, "r")
    assert row["messages"][0]["content"] == "You have no access to the internet."


@pytest.mark.parametrize("text", ["</tool_call>", "<tool_call>", "<tool_call>{}</tool_call>"])
def test_a_tag_inside_an_argument_of_hermes_is_text(text: str) -> None:
    said = [("human", "go"), ("gpt", "".join([f"<tool_call>{call(text)}</tool_call>"] * 2))]
    raw = {"conversations": [{"from": f, "value": v} for f, v in said], "tools": [TOOL]}
    assert arguments(convert("hermes", raw, "r")) == [text, text]


def test_a_tag_inside_an_argument_of_when2call_is_text() -> None:
    said = [("user", "go"), ("assistant", f"<TOOLCALL>[{call('</TOOLCALL>')}]</TOOLCALL>")]
    raw = {"messages": [{"role": r, "content": c} for r, c in said], "tools": [TOOL]}
    assert arguments(convert("when2call", raw, "r")) == ["</TOOLCALL>"]


def test_an_end_of_text_marker_that_hermes_quotes_is_text() -> None:
    end = "<|endoftext|>"
    said = [("human", f"What is {end}"), ("gpt", f"The token {end} ends a text.{end}")]
    raw = {"conversations": [{"from": f, "value": v} for f, v in said]}
    found = [m["content"] for m in convert("hermes", raw, "r")["messages"]]
    assert found == [f"What is {end}", f"The token {end} ends a text."]


def toolace(answer: str) -> Row:
    said = [{"from": "user", "value": "go"}, {"from": "assistant", "value": answer}]
    system = f"functions that you can invoke:\n{json.dumps([TOOL])}"
    return convert("toolace", {"system": system, "conversations": said}, "r")


@pytest.mark.parametrize(
    "said", ['I would write [f(x="a")].', 'Type `[f(x="a")]`', 'With [f(x="a")] one looks it up.']
)
def test_a_call_that_a_sentence_of_toolace_mentions_is_text(said: str) -> None:
    assert toolace(said)["messages"][-1] == {"role": "assistant", "content": said}


@pytest.mark.parametrize("lead", ["", "I look.\n", "I look: ", "I look! ", "I write [f(x=1)].\n"])
def test_a_call_after_a_line_or_a_sentence_of_toolace_is_a_call(lead: str) -> None:
    assert arguments(toolace(f'{lead}[f(x="a")]')) == ["a"]


def test_a_call_at_the_end_of_a_sentence_of_toolace_rejects_the_row() -> None:
    with pytest.raises(Rejected, match="leftover_marker: a call inside a sentence"):
        toolace('You may write [f(x="a")]')


def test_calls_in_the_texts_of_xlam_and_sharegpt_are_text() -> None:
    quoted = f"I write [{call('a')}]"
    raw: Row = {"query": quoted, "answers": f"[{call('b')}]", "tools": json.dumps([TOOL])}
    row = convert("xlam", raw, "r")
    assert row["messages"][0]["content"] == quoted and arguments(row) == ["b"]
    said = [("human", quoted), ("gpt", quoted)]
    raw = {"conversations": [{"from": f, "value": v} for f, v in said], "tools": [TOOL]}
    assert [m["content"] for m in convert("sharegpt", raw, "r")["messages"]] == [quoted] * 2


def test_brackets_inside_an_argument_of_toolace_are_text() -> None:
    said = [("user", "go"), ("assistant", '[f(x="a)] [f(x=1)]")]')]
    raw = {
        "system": f"functions that you can invoke:\n{json.dumps([TOOL])}",
        "conversations": [{"from": f, "value": v} for f, v in said],
    }
    assert arguments(convert("toolace", raw, "r")) == ["a)] [f(x=1)]"]


@pytest.mark.parametrize("text", ["</tool_call>", "<functioncall> {}", "function_call: x"])
def test_tags_inside_arguments_of_the_other_formats_are_text(text: str) -> None:
    said = [{"from": "human", "value": "go"}, {"from": "function_call", "value": call(text)}]
    raw: Row = {"conversations": said, "tools": [TOOL]}
    assert arguments(convert("sharegpt", raw, "r")) == [text]
    assert arguments(convert("mcp_agent", _mcp(f"<tool_call>{call(text)}</tool_call>"), "r")) == [
        text
    ]
    raw = {"query": "go", "answers": f"[{call(text)}]", "tools": json.dumps([TOOL])}
    assert arguments(convert("xlam", raw, "r")) == [text]


def _mcp(answer: str) -> Row:
    system = f"<tools>{json.dumps([TOOL])}</tools>"
    said = [("system", system), ("user", "go"), ("assistant", answer)]
    return {"messages": [{"role": r, "content": c} for r, c in said]}


@pytest.mark.parametrize("name", ["hermes", "sharegpt"])
def test_a_tag_that_prose_mentions_rejects_the_row_and_cuts_nothing(name: str) -> None:
    said = [("human", "go"), ("gpt", "I write <tool_call> before a call.")]
    raw = {"conversations": [{"from": f, "value": v} for f, v in said], "tools": [TOOL]}
    with pytest.raises(Rejected, match=r"malformed_call|leftover_marker"):
        convert(name, raw, "r")


def test_a_null_in_arguments_that_nothing_filled_is_a_label() -> None:
    given = {"x": None}
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": given}}]}
    raw = {"messages": [{"role": "user", "content": "go"}, turn], "tools": [TOOL]}
    assert arguments(convert("messages", raw, "r")) == [None]


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "string"}, False),
        ({"type": ["string", "null"]}, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
        ({"const": None}, True),
        ({"type": "string", "default": None}, True),
        ({}, True),
    ],
)
def test_a_null_of_arrow_is_no_argument_and_a_null_of_the_schema_is(
    schema: Row, kept: bool
) -> None:
    parameters = {"type": "object", "properties": {"x": schema, "y": {"type": "string"}}}
    tool = {"name": "f", "parameters": parameters}
    given = {"x": None, "y": "a", "of_another_tool": None}
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": given}}]}
    messages = [{"role": "user", "content": "go"}, turn]
    row = convert("messages", {"messages": messages, "tools": [tool]}, "r")
    found = row["messages"][-1]["tool_calls"][0]["function"]["arguments"]
    assert found == ({"x": None, "y": "a"} if kept else {"y": "a"})
