"""Before a run, calls of its rows are written by the template and read back as they are."""

from typing import Any

import pytest

from experiments.data import round_trip
from experiments.errors import DataError
from support.call_templates import FRAME, JSON, NAME, TEMPLATES, each, pairs
from support.chats import call, row, says, tiny

TYPED = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": TYPED}}]


def calling(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = [one | {"id": "abcdefghi"} for one in calls]
    turn = says("assistant", "", tool_calls=made)
    return row(says("user", "Go."), turn, tools=TOOLS) | more


ROWS = [
    calling(call("f", city="Oslo"), id="one"),
    calling(call("f", city="7"), call("f", city="true"), id="two"),
    calling(call("f"), id="empty"),
    calling(call("f", days={"a": [1, None, 2.5]}), id="nested"),
    row(says("user", "Hi."), says("assistant", "Hello.")),
]


@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_of_every_kind_come_back_from_every_form(name: str) -> None:
    rows = ROWS if TEMPLATES[name][2] else [r for r in ROWS if r["id"] != "two"]
    proof = round_trip.check({"train": rows, "test": rows}, tiny(TEMPLATES[name][0]), 0.0)
    assert proof.differ.total() == 0
    assert proof.tried == 2 * (len(rows) - 1)


def test_a_row_that_the_template_refuses_is_left_to_those_who_count_it() -> None:
    proof = round_trip.check({"train": [ROWS[1]]}, tiny(TEMPLATES["llama_3"][0]), 0.0)
    assert (proof.tried, proof.differ.total()) == (0, 0)


def test_a_template_that_writes_only_the_first_call_is_refused() -> None:
    first = FRAME.replace("CALLS", each(JSON).replace("m.tool_calls %}{", "m.tool_calls[:1] %}{"))
    with pytest.raises(DataError, match="row two: "):
        tiny(first).encode(ROWS)


def test_a_template_that_drops_nested_values_is_refused_with_the_argument() -> None:
    shallow = JSON.replace(
        "c.function.arguments | tojson",
        "dict(c.function.arguments.items() | selectattr(1, 'string')) | tojson",
    )
    own = tiny(FRAME.replace("CALLS", each(f"<tool_call>{shallow}</tool_call>")))
    with pytest.raises(
        DataError, match=r"row nested: argument days of f, .*parses back as nothing"
    ):
        round_trip.check({"test": ROWS}, own, 0.5)


def test_calls_in_no_known_form_are_refused() -> None:
    odd = FRAME.replace("CALLS", each(NAME + ":" + pairs("{{ k }}={{ v }};")))
    with pytest.raises(
        DataError, match="row one: the chat template writes its calls in an unknown format"
    ):
        round_trip.check({"test": ROWS}, tiny(odd), 0.0)


def test_single_values_that_a_form_of_text_loses_are_counted_and_many_are_refused() -> None:
    own = tiny(TEMPLATES["qwen_3_coder"][0])
    odd = calling(call("f", other="7"), id="odd")  # its type is in no schema
    rows = [*ROWS[:4] * 5, odd]
    proof = round_trip.check({"test": rows}, own, 0.1)
    assert dict(proof.differ) == {"test": 1}
    assert "row odd: argument other of f, '7', parses back as 7" in proof.example
    counts = {"sources": {"mine": {"calls_read_back": proof.facts()}}}
    assert round_trip.describe(counts)[0].startswith("mine: calls that do not parse back")
    with pytest.raises(DataError, match="this affects 1 of 5 rows"):
        round_trip.check({"test": [*ROWS[:4], odd]}, own, 0.1)


def test_a_few_rows_of_each_kind_are_tried_of_many() -> None:
    many = [calling(call("f", city=str(i)), id=f"r-{i}") for i in range(500)]
    proof = round_trip.check({"train": many}, tiny(TEMPLATES["hermes"][0]), 0.0)
    assert proof.tried == round_trip.OF_A_KIND
