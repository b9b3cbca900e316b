"""The toolworld's splits never leak, its gold turns are right, and a seed fixes everything."""

import itertools
import json
import random
import re
from collections import Counter
from typing import Any

import jsonschema
import pytest

from experiments.calibration import pretraining_text, pretraining_worlds
from experiments.config.categories import CATEGORIES
from experiments.data.toolworld import SPLITS, rows
from experiments.data.toolworld_conversations import ToolworldRow, conversation
from experiments.data.toolworld_vocabulary import QUESTIONS, TOOLS, UNSEEN_TOOLS, WORLD

REFERENCES = ("$1", "$2")


def prompt(row: ToolworldRow) -> str:
    """Return everything the model sees before the gold turn."""
    return json.dumps([row["messages"][:-1], row["tools"]], sort_keys=True)


def calls_with_schemas(row: ToolworldRow) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return (arguments, schema) of each call that names an offered or listed tool."""
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in row["tools"]}
    found = []
    for message in row["messages"]:
        if message["role"] == "tool" and message["name"] == "tools/list":
            listed = json.loads(message["content"])["tools"]
            schemas |= {tool["name"]: tool["inputSchema"] for tool in listed}
        for call in message.get("tool_calls", []):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            if name == "tools/list":
                assert arguments == {}
                continue
            if name == "tools/call":
                name, arguments = arguments["name"], arguments["arguments"]
            found.append((arguments, schemas[name]))
    return found


def assert_fits(value: dict[str, Any], schema: dict[str, Any]) -> None:
    """Check an object against its schema; a reference may stand for a value of any type."""
    kept = {name: item for name, item in value.items() if item not in REFERENCES}
    required = [name for name in schema["required"] if value.get(name) not in REFERENCES]
    assert set(value) <= set(schema["properties"])
    jsonschema.validate(kept, schema | {"required": required})


def free_values(row: ToolworldRow) -> set[str]:
    """Return the gold values that are neither booleans nor chosen from an enum."""
    pairs = calls_with_schemas(row)
    if "schema" in row:
        pairs.append((json.loads(row["messages"][-1]["content"]), row["schema"]))
    return {
        str(value)
        for arguments, schema in pairs
        for name, value in arguments.items()
        if not isinstance(value, bool)
        and "enum" not in schema["properties"][name]
        and value not in REFERENCES
    }


@pytest.mark.slow
def test_no_prompt_of_another_split_is_in_train_for_any_seed() -> None:
    train = {prompt(row) for seed in range(3) for row in rows("train", 900, seed=seed)}
    for split in SPLITS[1:]:
        for seed in range(3):
            assert not train & {prompt(row) for row in rows(split, 180, seed=seed)}, split


def test_same_seed_gives_the_same_rows_and_another_seed_does_not() -> None:
    assert rows("train", 90, seed=4) == rows("train", 90, seed=4)
    first, second = ({prompt(r) for r in rows("train", 90, seed=seed)} for seed in (4, 5))
    assert len(first & second) < 10


def test_a_larger_count_keeps_the_rows_of_a_smaller_one() -> None:
    small, large = ({row["id"]: prompt(row) for row in rows("test", n)} for n in (45, 90))
    assert small.items() <= large.items()


@pytest.mark.parametrize("split", SPLITS)
def test_ids_are_unique_and_a_split_does_not_repeat_itself(split: str) -> None:
    drawn = rows(split, 540)
    assert len({row["id"] for row in drawn}) == 540
    assert len({prompt(row) for row in drawn}) == 540


def test_equal_weights_share_the_rows_equally_and_a_prefix_is_mixed() -> None:
    drawn = rows("test", 540)
    assert Counter(row["category"] for row in drawn) == dict.fromkeys(CATEGORIES, 60)
    assert len({row["category"] for row in drawn[:60]}) == len(CATEGORIES)


def test_weights_are_respected_by_largest_remainder_and_zero_means_absent() -> None:
    drawn = rows("train", 10, weights={"single": 2, "plan": 1, "safety": 0})
    assert Counter(row["category"] for row in drawn) == {"single": 7, "plan": 3}


@pytest.mark.parametrize(
    ("split", "count", "weights"),
    [
        ("tset", 1, None),
        ("test", -1, None),
        ("test", 1, {"singel": 1.0}),
        ("test", 1, {"single": 0.0}),
        ("test", 1, {"single": -1.0, "plan": 2.0}),
        ("test", 1, {}),
    ],
)
def test_wrong_arguments_are_refused(
    split: str, count: int, weights: dict[str, float] | None
) -> None:
    with pytest.raises(ValueError, match=r"unknown|need count"):
        rows(split, count, weights=weights)


@pytest.mark.parametrize("split", SPLITS)
def test_the_last_turn_is_the_assistants_and_fits_its_category(split: str) -> None:
    expected = {"missing_argument": "question", "safety": "refusal", "irrelevant": "answer"}
    for row in rows(split, 270):
        gold = row["messages"][-1]
        assert gold["role"] == "assistant"
        assert row["source"] == "toolworld"
        assert row.get("expects") == expected.get(row["category"])
        has_call = row["category"] in ("single", "choice", "parallel", "plan", "mcp")
        assert ("tool_calls" in gold) == has_call == (gold["content"] == "")
        assert gold["content"].endswith("?") == (row["category"] == "missing_argument")


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_every_call_fits_the_schema_of_an_offered_tool(split: str) -> None:
    for row in rows(split, 540):
        assert len(row["tools"]) <= 4
        for arguments, schema in calls_with_schemas(row):
            assert_fits(arguments, schema)


@pytest.mark.parametrize("split", SPLITS)
def test_json_gold_fits_its_schema_and_states_values_of_the_prompt(split: str) -> None:
    for row in rows(split, 90, weights={"json_output": 1}):
        assert row["tools"] == []
        assert_fits(json.loads(row["messages"][-1]["content"]), row["schema"])


def test_plans_refer_to_an_earlier_call_or_copy_a_result() -> None:
    forms: Counter[str] = Counter()
    for row in rows("test", 90, weights={"plan": 1}):
        last = [call["function"]["arguments"] for call in row["messages"][-1]["tool_calls"]]
        if len(last) > 1:
            for number, arguments in enumerate(last[1:], 1):
                assert f"${number}" in arguments.values()
            forms[f"{len(last)} calls"] += 1
        else:
            result = json.loads(row["messages"][-2]["content"])["result"]
            assert result in last[0].values()
            forms["result"] += 1
    assert set(forms) == {"result", "2 calls", "3 calls"}
    assert forms["result"] > 20


def test_the_missing_argument_is_required_and_absent_from_the_request() -> None:
    for row in rows("test", 90, weights={"missing_argument": 1}):
        named = row["messages"][-1]["content"].split()[1]
        assert any(named in tool["function"]["parameters"]["required"] for tool in row["tools"])


def test_a_missing_argument_is_mostly_vague_and_else_not_mentioned() -> None:
    drawn = rows("test", 90, weights={"missing_argument": 1})
    texts = [row["messages"][-2]["content"] for row in drawn]
    vague = [text for text in texts if re.search(r"\bsome\b", text)]
    assert 0.6 < len(vague) / len(texts) < 0.9


def test_an_irrelevant_request_is_of_no_offered_tool() -> None:
    for row in rows("test", 90, weights={"irrelevant": 1}):
        text = row["messages"][-2]["content"]
        names = {tool["function"]["name"] for tool in row["tools"]}
        if any(question.split("{")[0] in text for question, _ in QUESTIONS):
            continue  # a question for no tool at all
        offered = [tool for tool in TOOLS if tool.name in names]
        assert not any(f" {start} " in f" {text} " for t in offered for start in t.requests)


@pytest.mark.slow
def test_unseen_values_shares_no_free_value_with_the_other_splits() -> None:
    known = set().union(
        *(free_values(row) for split in SPLITS[:3] for row in rows(split, 1800, seed=1))
    )
    unseen = set().union(*(free_values(row) for row in rows("unseen_values", 900)))
    assert len(unseen) > 200
    assert not known & unseen


def test_unseen_tools_shares_no_name_description_or_argument_with_the_other_splits() -> None:
    def words(tools: tuple[Any, ...]) -> set[str]:
        return {word for tool in tools for word in (tool.name, tool.description, *tool.parameters)}

    assert not words(TOOLS) & words(UNSEEN_TOOLS)
    names = {tool.name for tool in UNSEEN_TOOLS}
    offered = {t["function"]["name"] for row in rows("unseen_tools", 90) for t in row["tools"]}
    assert offered <= names


def test_pretraining_uses_no_toolworld_tool() -> None:
    text = "\n".join(itertools.islice(pretraining_text.documents(random.Random(3)), 3000))
    for tool in (*TOOLS, *UNSEEN_TOOLS):
        assert f'"{tool.name}"' not in text
        assert f"{tool.name}(" not in text


def test_conversation_draws_every_category_from_any_world() -> None:
    rng = random.Random(0)
    invented = pretraining_worlds.random_world(rng)
    for category, world in itertools.product(CATEGORIES, (WORLD, invented)):
        assert conversation(category, world, rng)["category"] == category
