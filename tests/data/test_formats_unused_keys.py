"""Keys of messages that nothing is read from, and nulls that a table filled in, are counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import load
from experiments.data import inspection, sources
from experiments.data.formats import NULLS, columns, convert

Row = dict[str, Any]
USER = {"role": "user", "content": "go"}
ANSWER = {"role": "assistant", "content": "ok"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": "a"}}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "1"}


def unused(*messages: Any, layout: str = "messages", column: str = "messages") -> list[str]:
    return columns.unused(layout, {column: list(messages)})


def test_keys_that_are_read_or_empty_are_not_named() -> None:
    read = [
        {**USER, "weight": 1},
        {**CALLING, "reasoning_content": "hm", "refusal": None, "annotations": [], "id": "m1"},
        RESULT,
        {**ANSWER, "weight": 0, "function_call": None},
    ]
    assert unused(*read) == []
    assert unused({"from": "human", "value": "a"}, layout="sharegpt", column="conversations") == []


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({**RESULT, "is_error": True}, "messages[].is_error"),
        ({**USER, "name": "Ada"}, "messages[].name"),
        ({**USER, "tool_calls": [CALL]}, "messages[].tool_calls"),
        ({**ANSWER, "refusal": "No."}, "messages[].refusal"),
        ({**CALLING, "tool_calls": [{**CALL, "result": "1"}]}, "messages[].tool_calls[].result"),
        (
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "1", "is_error": True}
                ],
            },
            "messages[].content[].is_error",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"a": 1}}]},
            "messages[].content[].cache_control",
        ),
    ],
)
def test_a_key_of_a_message_that_nothing_is_read_from_is_named(message: Row, name: str) -> None:
    assert unused(USER, message, message) == [name]
    assert columns.unused("messages", {"messages": json.dumps([USER, message])}) == [name]


def test_calls_beside_the_text_of_a_sharegpt_turn_are_named() -> None:
    said = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "tool_calls": [CALL]}]
    assert unused(*said, layout="sharegpt", column="conversations") == [
        "conversations[].tool_calls"
    ]


@pytest.mark.parametrize("odd", [None, "[", "5", ["text"], [{"role": ["user"], "content": {}}], 5])
def test_turns_that_cannot_be_read_have_no_keys(odd: Any) -> None:
    assert columns.unused("messages", {"messages": odd}) == []


def test_each_row_counts_once_and_the_line_names_the_key(tmp_path: Path) -> None:
    row = {"messages": [USER, CALLING, {**RESULT, "is_error": True}, {**ANSWER, "refusal": "x"}]}
    row["tools"] = [{"name": "f", "parameters": {"type": "object", "properties": {"x": {}}}}]
    path = tmp_path / "own.jsonl"
    path.write_text(f"{json.dumps(row)}\n" * 3, encoding="utf-8")
    hold = ("data.validation_share=0", "data.test_share=0")
    found = sources.read_all(load("data=jsonl", f"data.path={path}", *hold).data)
    [source] = found.values()
    assert source.unused_columns == {"messages[].is_error": 3, "messages[].refusal": 3}
    [line] = inspection.describe_unused(found)
    assert "unused columns: messages[].is_error (3 rows), messages[].refusal (3 rows)" in line


def test_nulls_that_a_table_filled_in_are_counted() -> None:
    string = {"type": "string"}
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": string, "y": string}}}
    filled = {"x": "a", "y": None, "of_another_tool": None}
    call = {"function": {"name": "f", "arguments": filled}}
    messages = [USER, {"role": "assistant", "tool_calls": [call, call]}]
    counts: Counter[str] = Counter()
    row = convert("messages", {"messages": messages, "tools": [tool]}, "r", counts)
    assert counts == {NULLS: 4}
    assert row["messages"][-1].keys() == {"role", "content", "tool_calls"}
    label = {"function": {"name": "f", "arguments": {"x": None}}}
    messages = [USER, {"role": "assistant", "tool_calls": [label]}]
    counts.clear()
    convert("messages", {"messages": messages, "tools": [tool]}, "r", counts)
    assert not counts
