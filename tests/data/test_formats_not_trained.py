"""Marks of turns and rows that are not trained, ids of calls, content in parts, older layouts."""

from collections import Counter
from typing import Any

import pytest

from experiments.data.formats import Rejected, convert
from experiments.data.formats.convert import CLOSING

Row = dict[str, Any]
USER = {"role": "user", "content": "go"}
TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}


def says(content: str, **more: Any) -> Row:
    return {"role": "assistant", "content": content, **more}


def read(*messages: Row, **more: Any) -> list[Row]:
    found: list[Row] = convert("messages", {"messages": [*messages], **more}, "r")["messages"]
    return found


def reason(raw: Row, name: str = "messages") -> str:
    with pytest.raises(Rejected) as caught:
        convert(name, raw, "r")
    return caught.value.reason


@pytest.mark.parametrize(
    "mark",
    [
        *({"weight": 0}, {"weight": 0.0}, {"weight": False}, {"train": False}, {"train": 0}),
        *({"training": False}, {"loss": False}, {"loss_scale": 0}, {"masked": True}),
        {"weight": 0, "train": None},
    ],
)
@pytest.mark.parametrize("name", ["messages", "sharegpt"])
def test_a_turn_marked_as_not_to_be_trained_keeps_its_mark(name: str, mark: Row) -> None:
    turns = [("user", "a", {}), ("assistant", "b", mark), ("user", "c", {}), ("assistant", "d", {})]
    if name == "messages":
        raw: Row = {"messages": [{"role": r, "content": c, **m} for r, c, m in turns]}
    else:
        speakers = {"user": "human", "assistant": "gpt"}
        raw = {"conversations": [{"from": speakers[r], "value": c, **m} for r, c, m in turns]}
    made = convert(name, raw, "r")["messages"]
    assert [message.get("train", True) for message in made] == [True, False, True, True]


@pytest.mark.parametrize("mark", [{"weight": 1}, {"train": True}, {"masked": False}])
def test_a_turn_marked_to_be_trained_is_as_any_other(mark: Row) -> None:
    assert read(USER, says("a", **mark)) == [USER, says("a")]


@pytest.mark.parametrize(
    "mark",
    [
        *({"weight": 0.5}, {"weight": 2}, {"weight": "0"}, {"train": "yes"}, {"mask": 0}),
        *({"mask": True}, {"train_detail": [{}]}, {"weight": 1, "train": False}),
    ],
)
def test_a_mark_without_one_meaning_rejects_the_row_by_name(mark: Row) -> None:
    raw = {"messages": [USER, says("a", **mark)]}
    assert reason(raw) == "malformed_flag"
    with pytest.raises(Rejected, match="|".join(mark)):
        convert("messages", raw, "r")


def test_a_row_marked_as_not_to_be_trained_is_left_out() -> None:
    assert reason({"messages": [USER, says("a")], "weight": 0}) == "not_trained"
    assert reason({"prompt": "a", "completion": "b", "train": False}, "prompt_completion") == (
        "not_trained"
    )
    assert reason({"messages": [USER, says("a", weight=0)]}) == "not_trained"
    assert reason({"messages": [USER, says("a")], "weight": 0.3}) == "malformed_flag"
    assert reason({"messages": [USER, says("a")], "mask": "User"}) == "malformed_flag"


def test_turns_with_different_marks_are_not_joined() -> None:
    made = read(USER, says("a", weight=0), says("b", weight=0), says("c"))
    assert made[1:] == [{**says("a\nb"), "train": False}, says("c")]


def test_a_user_turn_marked_to_be_trained_is_counted() -> None:
    counts: Counter[str] = Counter()
    raw = {"messages": [{**USER, "weight": 1}, says("a")]}
    assert convert("messages", raw, "r", counts)["messages"] == [USER, says("a")]
    assert sum(counts.values()) == 1


def test_a_closing_user_turn_is_cut_and_counted() -> None:
    counts: Counter[str] = Counter()
    raw = {"messages": [USER, says("a"), USER]}
    assert convert("messages", raw, "r", counts)["messages"] == [USER, says("a")]
    assert counts == {CLOSING: 1}


def calling(*ids: Any) -> Row:
    calls = [{"id": i, "function": {"name": "f", "arguments": {"x": n}}} for n, i in enumerate(ids)]
    return says("", tool_calls=calls)


def test_ids_are_carried_and_results_stand_in_the_order_of_their_calls() -> None:
    results = [{"role": "tool", "tool_call_id": i, "content": i} for i in ("b", "a")]
    made = read(USER, calling("a", "b"), *results, says("ok"), tools=[TOOL])
    assert [call["id"] for call in made[1]["tool_calls"]] == ["a", "b"]
    assert [(m["content"], m["tool_call_id"]) for m in made[2:4]] == [("a", "a"), ("b", "b")]


def test_no_id_is_made_where_the_file_has_none() -> None:
    made = read(USER, calling(None), {"role": "tool", "content": "1"}, says("ok"), tools=[TOOL])
    assert "id" not in made[1]["tool_calls"][0]
    assert "tool_call_id" not in made[2]


def test_a_wrong_or_repeated_id_rejects_the_row() -> None:
    result = {"role": "tool", "tool_call_id": "b", "content": "1"}
    for calls, results in (
        (calling("a"), [result]),
        (calling("b", "c"), [result, result]),
        (calling(None), [result]),
    ):
        raw = {"messages": [USER, calls, *results, says("ok")], "tools": [TOOL]}
        assert reason(raw) == "tool_result_without_call"
    assert reason({"messages": [USER, calling("a", "a")], "tools": [TOOL]}) == "malformed_call"


def test_blocks_of_anthropic_are_calls_results_and_thoughts() -> None:
    use = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
    ]
    block = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "3"}]}
    answer = {"role": "user", "content": [block, {"type": "text", "text": "And?"}]}
    tool = {"name": "f", "input_schema": TOOL["parameters"]}
    made = read(USER, {"role": "assistant", "content": use}, answer, says("ok"), tools=[tool])
    assert [m["role"] for m in made] == ["user", "assistant", "tool", "user", "assistant"]
    assert made[1]["reasoning_content"] == "hm"
    assert made[1]["tool_calls"][0]["id"] == made[2]["tool_call_id"] == "t1"
    assert (made[2]["content"], made[3]["content"]) == ("3", "And?")


def test_text_parts_are_joined_and_others_reject_the_row_by_name() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "image_url": None}]
    assert read({"role": "user", "content": content}, says("c"))[0]["content"] == "ab"
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(Rejected, match="unknown_part: 'image_url'"):
        read({"role": "user", "content": [*content, image]}, says("c"))


@pytest.mark.parametrize("arguments", ['{"x": 1}', {"x": 1}])
@pytest.mark.parametrize("as_text", [False, True])
def test_the_older_functions_of_openai_are_read(arguments: Any, as_text: bool) -> None:
    call: Any = {"name": "f", "arguments": arguments}
    called = says("", function_call=str(call) if as_text else call, tool_calls=None)
    result = {"role": "function", "name": "f", "content": "3"}
    row = convert(
        "messages",
        {"messages": [USER, called, result, says("ok")], "functions": [TOOL], "tools": None},
        "r",
    )
    assert [tool["function"]["name"] for tool in row["tools"]] == ["f"]
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert row["messages"][2]["name"] == "f"


def test_a_developer_is_a_system() -> None:
    made = read({"role": "developer", "content": "Short."}, USER, says("a"))
    assert made[0] == {"role": "system", "content": "Short."}


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_are_kept_under_each_name(name: str) -> None:
    assert read(USER, says("a", **{name: "hm"}))[1]["reasoning_content"] == "hm"


def test_a_system_column_stands_before_the_messages() -> None:
    assert read(USER, says("a"), system="Short.")[0] == {"role": "system", "content": "Short."}
    system = {"role": "system", "content": "Long."}
    assert reason({"messages": [system, USER, says("a")], "system": "Short."}) == "malformed_turns"


def test_alpaca_has_its_input_history_and_system() -> None:
    raw = {"instruction": "Translate", "input": "word", "output": "Wort", "system": "S."}
    row = convert("prompt_completion", {**raw, "history": [["q", "a"]]}, "r")
    said = [(m["role"], m["content"]) for m in row["messages"]]
    assert said == [
        *(("system", "S."), ("user", "q"), ("assistant", "a")),
        *(("user", "Translate\nword"), ("assistant", "Wort")),
    ]
