"""What a row shows its model is chosen by pure functions, and by nothing else."""

import copy
from itertools import pairwise
from typing import Any

import pytest

from experiments.data import augmentation
from experiments.errors import DataError

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a day",
        "parameters": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["object", "number"]},
                "days": {"type": "array", "items": {"type": "number"}},
                "where": {"type": "object", "properties": {"lat": {"type": ["number", "null"]}}},
                "how": {"anyOf": [{"type": "number"}, {"type": "string"}]},
            },
            "required": ["type"],
        },
    },
}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "", "parameters": {}}}


def row(*called: str, offered: int = 10, system: str | None = "own words") -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": n, "arguments": {}}} for n in called]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "please"},
        {"role": "assistant", "content": "" if calls else "no", "tool_calls": calls},
    ]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    tools = [tool(f"f{i}") for i in range(offered)]
    return {"id": "r-1", "source": "test", "messages": messages, "tools": tools}


def systems(shaped: dict[str, Any]) -> list[str]:
    return [m["content"] for m in shaped["messages"] if m["role"] == "system"]


def names(shaped: dict[str, Any]) -> list[str]:
    return [augmentation.tool_name(t) for t in shaped["tools"]]


@pytest.mark.parametrize("system", ["own words", None])
def test_a_unified_system_prompt_is_the_first_message_of_every_row(system: str | None) -> None:
    given = row(system=system)
    before = copy.deepcopy(given)
    shaped = augmentation.with_system_prompt(given, "unify", "Be brief.")
    assert shaped["messages"][0] == {"role": "system", "content": "Be brief."}
    assert systems(shaped) == ["Be brief."]
    assert given == before


def test_dropped_system_prompts_leave_the_rest() -> None:
    shaped = augmentation.with_system_prompt(row(), "drop")
    assert [m["role"] for m in shaped["messages"]] == ["user", "assistant"]
    assert augmentation.with_system_prompt(row(), "keep") == row()


@pytest.mark.parametrize("mode", ["keep", "unify", "drop"])
def test_a_row_with_a_schema_keeps_the_system_message_that_asks_for_json(
    mode: augmentation.SystemPrompt,
) -> None:
    given = row(system="Answer with this JSON: ...") | {"schema": {"type": "object"}}
    assert augmentation.with_system_prompt(given, mode, "Be brief.") == given


def test_a_unified_prompt_without_text_is_refused() -> None:
    with pytest.raises(DataError, match="needs a text"):
        augmentation.with_system_prompt(row(), "unify", " ")


def test_bare_and_wrapped_tools_have_one_openai_form() -> None:
    bare = WEATHER["function"]
    assert augmentation.tools_in_form([WEATHER, bare], "openai") == [WEATHER, WEATHER]  # type: ignore[list-item]


def test_bfcl_form_is_bare_and_renames_types_but_no_property_and_no_value() -> None:
    [raw] = augmentation.tools_in_form([WEATHER], "bfcl_raw")
    assert list(raw) == ["name", "description", "parameters"]
    assert raw["parameters"]["type"] == "dict"
    assert raw["parameters"]["required"] == ["type"]
    assert raw["parameters"]["properties"] == {
        "type": {"type": "string", "enum": ["object", "number"]},
        "days": {"type": "array", "items": {"type": "float"}},
        "where": {"type": "dict", "properties": {"lat": {"type": ["float", "null"]}}},
        "how": {"anyOf": [{"type": "float"}, {"type": "string"}]},
    }
    [empty] = augmentation.tools_in_form([{"name": "ping"}], "bfcl_raw")
    assert empty == {
        "name": "ping",
        "description": "",
        "parameters": {"type": "dict", "properties": {}},
    }


def test_mcp_form_carries_the_schema_unchanged() -> None:
    [mcp] = augmentation.tools_in_form([WEATHER], "mcp")
    function: Any = WEATHER["function"]
    assert mcp == {
        "name": "weather",
        "description": "Weather of a day",
        "inputSchema": function["parameters"],
    }


@pytest.mark.parametrize("k", [0, 1, 4, 20])
def test_called_tools_stay_with_k_others_in_the_order_of_the_list(k: int) -> None:
    shaped = augmentation.with_tools_shown(row("f7", "f2"), k, seed=0)
    assert {"f2", "f7"} <= set(names(shaped))
    assert len(names(shaped)) == min(10, 2 + k)
    assert names(shaped) == sorted(names(shaped))


def test_a_row_without_calls_keeps_one_tool_more_so_that_their_number_tells_nothing() -> None:
    calling = augmentation.with_tools_shown(row("f0"), 3, seed=0)
    silent = augmentation.with_tools_shown(row(), 3, seed=0)
    assert len(calling["tools"]) == len(silent["tools"]) == 4


def test_the_draw_of_tools_depends_on_the_row_and_the_seed_and_is_nested() -> None:
    drawn = [names(augmentation.with_tools_shown(row("f5"), k, seed=1)) for k in range(9)]
    for fewer, more in pairwise(drawn):
        assert set(fewer) < set(more)
    again = names(augmentation.with_tools_shown(row("f5"), 4, seed=1))
    assert again == drawn[4]
    others = {tuple(names(augmentation.with_tools_shown(row("f5"), 4, seed=s))) for s in range(9)}
    renamed = row("f5") | {"id": "r-2"}
    others.add(tuple(names(augmentation.with_tools_shown(renamed, 4, seed=1))))
    assert len(others) > 5
