"""Rows of GSM8K, Seal-Tools, API-Bank and Schema-Guided Dialogue, as they are published."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import load
from experiments.data import sources
from experiments.data.formats import Rejected, convert
from experiments.errors import DataError

Row = dict[str, Any]
APIS = [
    {
        "api_name": "getBeds",
        "api_description": "Beds of a ward",
        "field": "Nursing",
        "parameters": {"ward": {"type": "str", "description": "The ward"}, "day": {"type": "int"}},
        "required": ["ward", "gone"],
        "responses": {"beds": {"type": "int", "description": "Free beds"}},
    }
]
CALENDAR = {
    "name": "AddMeeting",
    "description": "Add a meeting.",
    "input_parameters": {"title": {"type": "str", "description": "The title."}},
    "output_parameters": {"status": {"type": "str", "description": "success or failed"}},
}
ALARM: Row = {
    "service_name": "Alarm_1",
    "description": "Alarms",
    "slots": [
        {"name": "time", "description": "When", "is_categorical": False, "possible_values": []},
        {"name": "sound", "description": "What", "is_categorical": True, "possible_values": ["a"]},
    ],
    "intents": [
        {
            "name": "AddAlarm",
            "description": "Set an alarm",
            "required_slots": ["time"],
            "optional_slots": {"sound": "a"},
        }
    ],
}


def seal(answer: str, request: str = "How many beds?", apis: str = repr(APIS)) -> Row:
    prompt = f'Choose apis.\nInput:\napi_list = {apis}\ntask_instruction = "{request}"\nOutput:\n\n'
    turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
    return {"id": "dev-easy-0", "conversations": turns}


def bank(dialogue: str, output: str, **more: Any) -> Row:
    instruction = f"Generate a request.\nAPI descriptions:\n{json.dumps(CALENDAR)}"
    return {"instruction": instruction, "input": dialogue, "output": output, **more}


def dialogue(number: int, time: str = "8") -> Row:
    call = {"method": "AddAlarm", "parameters": {"time": time}}
    results = [{"time": time, "sound": s} for s in "abcd"]
    frame = {"service": "Alarm_1", "service_call": call, "service_results": results}
    turns: list[Row] = [
        {"speaker": "USER", "utterance": f"Wake me at {time} for {number}", "frames": []},
        {"speaker": "SYSTEM", "utterance": "It is set.", "frames": [frame]},
    ]
    return {"dialogue_id": f"1_{number:05}", "services": ["Alarm_1"], "turns": turns}


def calls(row: Row) -> list[Row]:
    return [c["function"] for m in row["messages"] for c in m.get("tool_calls", [])]


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def test_a_gsm8k_row_is_a_question_and_its_solution_as_published() -> None:
    answer = "48/2 = <<48/2=24>>24\n#### 1,072"
    row = convert("gsm8k", {"question": "How many?", "answer": answer}, "one")
    assert row["messages"] == [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": answer},
    ]
    assert row["tools"] == [] and row["id"] == "one"
    with pytest.raises(Rejected, match=r"does not end with #### NUMBER"):
        convert("gsm8k", {"question": "How many?", "answer": "24"}, "two")


def test_a_seal_tools_row_has_the_request_its_tools_and_the_calls() -> None:
    answer = "[{'api': 'getBeds', 'parameters': {'ward': 'A'}, 'responses': ['API_call_0']}]"
    row = convert("seal_tools", seal(answer, 'Beds in "A"?'), "x")
    assert row["id"] == "dev-easy-0"
    assert [m["content"] for m in row["messages"]] == ['Beds in "A"?', ""]
    assert calls(row) == [{"name": "getBeds", "arguments": {"ward": "A"}}]
    [tool] = row["tools"]
    assert tool["function"]["parameters"]["required"] == ["ward"]
    assert tool["function"]["parameters"]["properties"]["day"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (seal("[{'api': 'other', 'parameters': {}}]"), "unknown_function"),
        (seal("[{'api': 'getBeds', 'parameters': {}}]"), "missing_required_argument"),
        (seal("nothing"), "malformed_call"),
        (seal("[]", apis="[1]"), "malformed_tools"),
        ({"id": 1, "conversations": [{"from": "human", "value": "Hi"}]}, "unknown_layout"),
        ({"id": 1, "query": "Hi", "calling": []}, "unknown_layout"),
    ],
)
def test_a_broken_seal_tools_row_is_rejected_with_its_reason(raw: Row, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        convert("seal_tools", raw, "x")
    assert caught.value.reason == reason


def test_an_api_bank_row_ends_with_the_call_that_is_asked_for() -> None:
    said = (
        "User: Add a meeting.\nAI: Which title?\nIt may be long.\n"
        "API-Request: [AddMeeting(title='a')]->{'status': 'failed'}\n"
        "AI: It failed.\nUser: Then b.\nGenerate API Request:\n"
    )
    raw = bank(said, "API-Request: [AddMeeting(title='b')]", file="one.jsonl", id=2)
    row = convert("api_bank", raw, "x")
    assert row["id"] == "one.jsonl:2"
    assert [(m["role"], m["content"]) for m in row["messages"]] == [
        ("user", "Add a meeting."),
        ("assistant", "Which title?\nIt may be long."),
        ("tool", "{'status': 'failed'}"),
        ("assistant", "It failed."),
        ("user", "Then b."),
        ("assistant", ""),
    ]
    assert [call["arguments"]["title"] for call in calls(row)] == ["a", "b"]
    assert row["tools"][0]["function"]["parameters"]["required"] == ["title"]


def test_an_api_bank_answer_may_be_text_and_the_tools_may_be_in_the_input() -> None:
    described = json.dumps({"apiCode": "Find", "description": "d", "parameters": {}})
    raw = {
        "instruction": "Answer.\nAPI descriptions:\n",
        "input": f"{described}\nUser: Hi\nGenerate AI Response:\n",
        "expected_output": "Hello: how are you?",
    }
    row = convert("api_bank", raw, "x")
    assert row["messages"][-1] == {"role": "assistant", "content": "Hello: how are you?"}
    assert [tool["function"]["name"] for tool in row["tools"]] == ["Find"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (bank("User: Hi\n", "API-Request: [Unknown(a=1)]"), "unknown_function"),
        (bank("User: Hi\n", "API-Request: AddMeeting(title='b')"), "malformed_call"),
        (bank("User: Hi\n", "API-Request: [AddMeeting(title='b')] now"), "text_after_call"),
        (bank("Hi\n", "AI: Hi"), "unknown_layout"),
        ({"input": "User: Hi", "output": "AI: Hi"}, "missing_column"),
    ],
)
def test_a_broken_api_bank_row_is_rejected_with_its_reason(raw: Row, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        convert("api_bank", raw, "x")
    assert caught.value.reason == reason


def sgd_folder(tmp_path: Path) -> Path:
    for split, count in (("train", 12), ("dev", 4), ("test", 6)):
        rows = [dialogue(i, time=f"{i} in {split}") for i in range(count)]
        write(tmp_path / split / "dialogues_001.json", rows)
        write(tmp_path / split / "schema.json", [ALARM])
    return tmp_path


def test_sgd_dialogues_have_calls_results_and_the_tools_of_their_services(tmp_path: Path) -> None:
    spec = load("data=sgd", f"data.path={sgd_folder(tmp_path)}", "data.cache=null").data
    [found] = sources.read_all(spec).values()
    assert {split: len(rows) for split, rows in found.splits.items()} == {
        "train": 12,
        "validation": 4,
        "test": 6,
    }
    assert {f"{split}/schema.json" for split in ("train", "dev", "test")} <= set(found.files)
    row = found.splits["validation"][0]
    assert [m["role"] for m in row["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert [len(json.loads(m["content"])) for m in row["messages"] if m["role"] == "tool"] == [3]
    [tool] = row["tools"]
    assert tool["function"]["name"] == "Alarm_1_AddAlarm"
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "time": {"type": "string", "description": "When"},
            "sound": {"type": "string", "description": "What", "enum": ["a"], "default": "a"},
        },
        "required": ["time"],
    }


def test_sgd_without_its_schema_and_broken_turns_are_named(tmp_path: Path) -> None:
    place = sgd_folder(tmp_path)
    broken = [dialogue(0), {**dialogue(1), "turns": [{"speaker": "USER"}]}]
    write(place / "dev" / "dialogues_001.json", broken)
    spec = load("data=sgd", f"data.path={place}", "data.cache=null").data
    [found] = sources.read_all(spec).values()
    assert found.rejected == {"malformed_turns": 1}
    assert found.examples["malformed_turns"] == [
        "dialogues_001.json, row 2: a turn lacks 'utterance'"
    ]
    (place / "dev" / "schema.json").unlink()
    with pytest.raises(DataError, match=r"dev/schema\.json is missing, which describes"):
        sources.read_all(spec)


def test_rows_that_were_saved_as_messages_are_read_under_the_name_of_their_set(
    tmp_path: Path,
) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"id": str(i), "messages": said}) + "\n" for i in range(3)))
    for name in ("xlam_60k", "glaive_v2", "hermes_v1"):
        spec = load(f"data={name}", f"data.path={path}", "data.cache=null").data
        [found] = sources.read_all(spec).values()
        assert len(found.rows) + found.held_back_twins == 3 and not found.rejected


@pytest.mark.parametrize(
    ("words", "train", "test"),
    [
        (("data=seal_tools", "data.subset=dev"), 697, 698),
        (("data=gsm8k",), 7473, 1319),
    ],
)
def test_the_shared_rows_of_a_set_are_read_from_their_folder(
    shared: Path, words: tuple[str, ...], train: int, test: int
) -> None:
    place = shared / ("gsm8k" if words == ("data=gsm8k",) else "converted")
    options = ("data.validation_share=0", "data.cache=null")
    [found] = sources.read_all(load(*words, f"data.path={place}", *options).data).values()
    assert not found.rejected
    assert len(found.splits["train"]) + found.held_back_twins == train
    assert len(found.splits["test"]) == test
