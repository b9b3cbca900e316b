"""A user's own rows: messages, ShareGPT, prompt and completion; and what holds for every format."""

import json
import subprocess
import sys
from typing import Any

import pytest

from experiments.data.formats import FORMATS, MEANINGS, REASONS, Rejected, convert

Row = dict[str, Any]
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "",
        "parameters": {"type": "object", "properties": {"x": {"type": "number"}}},
    },
}
USER = {"role": "user", "content": "go"}


def calling(*arguments: Any, **more: Any) -> Row:
    calls = [{"function": {"name": "f", "arguments": given}} for given in arguments]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def read(*messages: Row, **more: Any) -> list[Row]:
    raw = {"messages": list(messages), "tools": [TOOL], **more}
    found: list[Row] = convert("messages", raw, "r")["messages"]
    return found


def reason(raw: Row, name: str = "messages") -> str:
    with pytest.raises(Rejected) as caught:
        convert(name, raw, "r")
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("arguments", [{"x": 0.1}, '{"x": 0.1}'])
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [TOOL["function"]]])
def test_arguments_and_tools_may_be_objects_or_their_text(arguments: Any, tools: Any) -> None:
    row = convert("messages", {"messages": [USER, calling(arguments)], "tools": tools}, "r")
    assert row["tools"] == [TOOL]
    [call] = row["messages"][1]["tool_calls"]
    assert call == {"type": "function", "function": {"name": "f", "arguments": {"x": 0.1}}}
    assert row["messages"][1]["content"] == ""


def test_the_messages_may_be_text_themselves() -> None:
    text = json.dumps([USER, {"role": "assistant", "content": "ok"}])
    assert convert("messages", {"messages": text}, "r")["tools"] == []


def test_the_row_given_is_not_changed() -> None:
    raw = {
        "messages": [USER, calling({"x": 1}), {"role": "tool", "content": "1"}, USER],
        "tools": [TOOL],
    }
    before = json.dumps(raw)
    convert("messages", raw, "r")
    assert json.dumps(raw) == before


def test_results_are_named_by_position_name_or_id() -> None:
    by_id = calling({}, {})
    for number, call in enumerate(by_id["tool_calls"]):
        call["id"] = f"c{number}"
    results = [{"role": "tool", "content": f"{n}", "tool_call_id": f"c{n}"} for n in (1, 0)]
    assert [m.get("name") for m in read(USER, by_id, *results, USER, calling({}))[2:4]] == [
        "f",
        "f",
    ]
    last = {"role": "assistant", "content": "ok"}
    assert read(USER, calling({}), {"role": "tool", "content": "1"}, last)[2]["name"] == "f"
    wrong = {"role": "tool", "content": "1", "name": "g"}
    assert (
        reason({"messages": [USER, calling({}), wrong], "tools": [TOOL]})
        == "tool_result_without_call"
    )


def test_what_follows_the_last_answer_is_cut() -> None:
    assert (
        read(USER, calling({}), {"role": "tool", "content": "1"}, USER)[-1]["role"] == "assistant"
    )


def test_reasoning_is_kept_whether_in_its_field_or_in_tags() -> None:
    for turn in (
        {"role": "assistant", "content": "ok", "reasoning_content": "hm"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nok"},
    ):
        assert read(USER, turn)[-1] == {
            "role": "assistant",
            "content": "ok",
            "reasoning_content": "hm",
        }


def test_assistant_turns_in_a_row_are_one_turn_with_all_of_it() -> None:
    thought = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    [_, last] = read(USER, thought, calling({"x": 1}, content="b"), calling({"x": 2}))
    assert (last["content"], last["reasoning_content"], len(last["tool_calls"])) == (
        "a\nb",
        "hm",
        2,
    )


@pytest.mark.parametrize("role", ["system", "user", "tool"])
@pytest.mark.parametrize(
    "text", ["<tool_call>{}</tool_call>", "<|im_start|>", "<|endoftext|>", "<think>"]
)
def test_markup_in_text_that_is_not_the_assistants_stays_text(role: str, text: str) -> None:
    messages = [
        USER,
        calling({}),
        {"role": "tool", "content": text},
        {"role": "assistant", "content": "a"},
    ]
    if role != "tool":
        messages = [{"role": role, "content": text}, USER, {"role": "assistant", "content": "a"}]
    assert text in [m["content"] for m in read(*messages)]


def test_nulls_that_arrow_fills_in_are_not_shown_to_the_model() -> None:
    parameters = {
        "type": "object",
        "properties": {"x": {"type": "number", "enum": None}, "y": None},
    }
    tool = {"name": "f", "description": None, "parameters": parameters | {"required": None}}
    row = convert("messages", {"messages": [USER, calling({"x": 1})], "tools": [tool]}, "r")
    assert row["tools"] == [TOOL]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"chat": []}, "missing_column"),
        ({"messages": "[1"}, "malformed_turns"),
        ({"messages": [1]}, "malformed_turns"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "not_text"),
        ({"messages": [{"role": "user", "content": ""}]}, "empty_turn"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "empty_turn"),
        ({"messages": [USER]}, "no_assistant_turn"),
        ({"messages": []}, "no_assistant_turn"),
        ({"messages": [USER, calling({})]}, "unknown_function"),
        ({"messages": [USER, calling("{x: 1}")], "tools": [TOOL]}, "malformed_call"),
        ({"messages": [USER, calling("")], "tools": [TOOL]}, "malformed_call"),
        ({"messages": [USER, calling({"x": float("nan")})], "tools": [TOOL]}, "malformed_call"),
        ({"messages": [USER, calling({"x": "\0"})], "tools": [TOOL]}, "control_character"),
        ({"messages": [USER, calling({"x": "\ud800"})], "tools": [TOOL]}, "not_text"),
        ({"messages": [USER, calling({"y": 1})], "tools": [TOOL]}, "unknown_argument"),
        (
            {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]},
            "malformed_call",
        ),
        ({"messages": [calling({}), USER, calling({})], "tools": [TOOL]}, "call_before_user"),
        (
            {"messages": [USER, {"role": "assistant", "content": "a <|endoftext|>"}]},
            "leftover_marker",
        ),
        ({"messages": [USER], "tools": "none"}, "malformed_tools"),
        ({"messages": [USER], "tools": [{"name": "f\0"}]}, "control_character"),
    ],
)
def test_a_defect_rejects_the_row(raw: Row, why: str) -> None:
    assert reason(raw) == why


def sharegpt(*said: str, **more: Any) -> Row:
    turns = [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in said]
    return {"conversations": turns, "tools": json.dumps([TOOL["function"]]), **more}


@pytest.mark.parametrize("name", ["sharegpt", "apigen_mt"])
@pytest.mark.parametrize("result", ["observation", "tool"])
def test_sharegpt_roles_are_mapped(name: str, result: str) -> None:
    call = '{"name": "f", "arguments": {"x": 0.3}}'
    raw = sharegpt(
        *("human: go", "gpt: One moment.", f"function_call: [{call}, {call}]"),
        *(f"{result}: 1", f"{result}: 2", "gpt: done"),
        system="Policy.",
    )
    row = convert(name, raw, "r")
    assert row["source"] == name
    assert [m["role"] for m in row["messages"]] == [
        *("system", "user", "assistant", "tool", "tool", "assistant"),
    ]
    assert row["messages"][2]["content"] == "One moment."
    assert row["messages"][4] == {"role": "tool", "name": "f", "content": "2"}
    assert row["tools"] == [TOOL]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("user: go", "gpt: a"), "unknown_role"),
        (("human: go", "function_call: f(x=1)"), "malformed_call"),
        (("human: go", "function_call: []"), "malformed_call"),
        (("human: go", "observation: 1", "gpt: a"), "tool_result_without_call"),
        (("human:  ", "gpt: a"), "empty_turn"),
    ],
)
def test_a_defect_rejects_the_sharegpt_row(said: tuple[str, ...], why: str) -> None:
    assert reason(sharegpt(*said), "sharegpt") == why


def test_prompt_and_completion_are_two_turns() -> None:
    row = convert("prompt_completion", {"prompt": " a", "completion": "b\n", "source": "mine"}, "r")
    assert [m["content"] for m in row["messages"]] == [" a", "b\n"]
    assert (row["id"], row["source"], row["tools"]) == ("r", "mine", [])


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"question": "a", "answer": "b"}, "missing_column"),
        ({"prompt": "a", "completion": 3}, "not_text"),
        ({"prompt": "a", "completion": " "}, "empty_turn"),
        ({"prompt": "a\0", "completion": "b"}, "control_character"),
    ],
)
def test_a_defect_rejects_the_prompt(raw: Row, why: str) -> None:
    assert reason(raw, "prompt_completion") == why


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"messages": None, "conversations": None, "chat": None},
        {"messages": 1, "conversations": 1, "chat": 1, "system": 1, "query": 1, "tools": 1},
        {"messages": [None], "conversations": [None], "tools": [None], "sample": "x"},
        {"messages": [[]], "conversations": [{}], "tools": {}, "prompt": [], "completion": []},
    ],
)
def test_whatever_a_row_is_it_is_converted_or_rejected(name: str, raw: Row) -> None:
    with pytest.raises(Rejected) as caught:
        convert(name, raw, "r")
    assert caught.value.reason in REASONS


def test_a_row_of_two_megabytes_is_read() -> None:
    long = "word " * 400_000
    assert convert("prompt_completion", {"prompt": long, "completion": "b"}, "r")
    for text in (" " * 2_000_000, "'" * 200_000, "\n" * 500_000, "[" * 200_000, '"' * 200_000):
        chat = f"USER: a\n\n\nASSISTANT: <functioncall> {text}"
        with pytest.raises(Rejected):
            convert("glaive_v2", {"system": "SYSTEM: x", "chat": chat}, "r")


def test_reasons_are_a_closed_list_with_meanings() -> None:
    assert tuple(MEANINGS) == REASONS
    with pytest.raises(AssertionError):
        Rejected("because", "no")


def test_formats_load_nothing_heavy() -> None:
    code = (
        "import experiments.data.formats.toolace, sys; "
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
