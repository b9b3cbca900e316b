"""Published test sets named by eval.benchmarks: their files, rows, prompts, and the guard."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, Cli, load
from experiments import config, data, models, records
from experiments.config import benchmarks as names
from experiments.data import benchmark_files, benchmark_rows
from experiments.errors import ConfigError, DataError
from experiments.toolcalls import parser

Row = dict[str, Any]
# Enough rows to train on, made in no time.
SMALL = (
    *("data.train_rows=9", "data.validation_rows=0", "data.test_rows=9", "data.cache=null"),
    *("data.unseen_values_rows=0", "data.unseen_tools_rows=0"),
)
SQUARE: Row = {
    "name": "shapes.square",
    "description": "Draw a square.",
    "parameters": {
        "type": "dict",
        "properties": {
            "side": {"type": "float", "description": "In metres"},
            "ink": {"type": "any"},
            "at": {"type": "tuple", "items": {"type": "float"}},
            "type": {"type": "dict", "properties": {"name": {"type": "string"}}},
        },
        "required": ["side"],
    },
}


def question(number: int, text: str | None = None, **more: Any) -> Row:
    asked = text or f"Draw a square of {number} metres"
    return {
        "id": f"simple_python_{number}",
        "question": [[{"role": "user", "content": asked}]],
        "function": [SQUARE],
        **more,
    }


def truth(number: int, **allowed: list[Any]) -> Row:
    call = {"shapes.square": {"side": [number], "ink": ["", "blue"], **allowed}}
    return {"id": f"simple_python_{number}", "ground_truth": [call]}


def write(path: Path, members: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in members), encoding="utf-8")
    return path


def folder(tmp_path: Path, count: int = 3, category: str = "simple_python") -> Path:
    """Write questions and answers where upstream has them."""
    place = tmp_path / "bfcl"
    write(place / f"BFCL_v4_{category}.json", [question(i) for i in range(count)])
    write(place / "possible_answer" / f"BFCL_v4_{category}.json", [truth(i) for i in range(count)])
    return place


def build(*overrides: str) -> data.TrainData:
    run = load(*overrides)
    vocabulary = models.load_vocabulary(load().model)
    return data.build(
        run, vocabulary.tokenizer, end_ids=vocabulary.end_ids, positions=vocabulary.positions or 0
    )


def named(*given: str, path: Path | None = None) -> tuple[str, ...]:
    at = () if path is None else (f"eval.path={path}",)
    return (f"eval.benchmarks=[{','.join(given)}]", *at)


def prompt(built: data.TrainData, encoded: data.Encoded) -> str:
    tokenizer = models.load_vocabulary(load().model).tokenizer
    return str(tokenizer.decode(encoded.prompt_ids))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (named("bfcl_simple_pyton"), "did you mean 'bfcl_simple_python'? Allowed: toolworld, bfcl"),
        (named("bfcl_simple_java"), "its values are Java literals"),
        (named("bfcl_javascript"), "its values are JavaScript literals"),
        (named("bfcl_multi_turn_base"), "executing calls over several turns"),
        (named("nestful_sgd"), "set eval.path to the folder"),
        (named("seal_tools_test_in_domain"), "no copy on the hub is known"),
        (named("toolworld", "toolworld"), "names toolworld more than once"),
        (("eval.path=somewhere",), "eval.path=somewhere would not be used"),
        (named("toolworld", path=Path("x")), "eval.path=x would not be used"),
        (("eval.benchmark_rows={bfcl_multiple:9}",), "add bfcl_multiple to eval.benchmarks"),
        (
            (*named("bfcl_multiple", path=Path("x")), "eval.benchmark_rows={bfcl_multiple:0}"),
            "eval.benchmark_rows.bfcl_multiple=0",
        ),
    ],
)
def test_a_benchmark_that_cannot_be_asked_has_its_sentence(
    overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    assert sentence in str(caught.value)


def test_every_name_of_the_config_has_its_files() -> None:
    assert {"toolworld", *benchmark_files.LAYOUTS} == set(names.NAMES)
    on_the_hub = {name for name, layout in benchmark_files.LAYOUTS.items() if layout.hub_id}
    assert on_the_hub == {"nestful", "when2call_test"}


def test_benchmarks_and_their_folder_are_part_of_what_a_run_is() -> None:
    plain = config.run_id(load())
    assert config.run_id(load(*named("toolworld"))) != plain


def test_the_toolworld_benchmark_has_the_sizes_of_the_builtin_mixture() -> None:
    mixed = load("data=mixed").data
    assert mixed.seed == benchmark_rows.TOOLWORLD_SEED
    assert set(mixed.weights.values()) == {1}
    for split, count in benchmark_rows.TOOLWORLD_ROWS.items():
        assert count == getattr(mixed, f"{split}_rows")


@pytest.mark.slow
def test_any_run_can_be_asked_the_tool_world(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {i}", "completion": f"{i}!"} for i in range(40)]
    path = write(tmp_path / "own.jsonl", rows)
    built = build("data=jsonl", f"data.path={path}", "data.cache=null", *named("toolworld"))
    asked = dict(built.evaluated_splits(load(*named("toolworld")).eval))
    assert {split: len(rows) for split, rows in asked.items()} == {
        "test": 2,
        "toolworld": 540,
        "toolworld_unseen_values": 90,
        "toolworld_unseen_tools": 90,
    }
    own = build("data.train_rows=9", "data.validation_rows=0", "data.cache=null")
    ids = [[e.row["id"] for e in rows] for rows in (own.splits["test"], asked["toolworld"])]
    assert ids[0] == ids[1]


def test_a_bfcl_row_has_converted_tools_a_gold_turn_and_what_its_checker_needs(
    tmp_path: Path,
) -> None:
    place = tmp_path / "bfcl"
    one = truth(2, at=[[1, 2]], type=[{"name": ["", "round"], "size": [3]}])
    write(place / "BFCL_v4_simple_python.json", [question(2)])
    write(place / "possible_answer" / "BFCL_v4_simple_python.json", [one])
    [row] = benchmark_rows.read("bfcl_simple_python", str(place), dots=False).rows
    assert (row["id"], row["benchmark"], row.get("category")) == (
        *("simple_python_2", "bfcl_simple_python", None),
    )
    [tool] = row["tools"]
    assert tool["function"]["name"] == "shapes_square"
    assert tool["function"]["description"].endswith(
        "square. Note that the provided function is in Python 3 syntax."
    )
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "side": {"type": "number", "description": "In metres"},
            "ink": {"type": "string"},
            "at": {"type": "array", "items": {"type": "number"}},
            "type": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
        "required": ["side"],
    }
    assert parser.gold_calls(row) == [
        {
            "name": "shapes_square",
            "arguments": {
                "side": 2,
                "ink": "blue",
                "at": [1, 2],
                "type": {"name": "round", "size": 3},
            },
        }
    ]
    assert row["bfcl"] == {
        "category": "simple_python",
        "function": [SQUARE],
        "ground_truth": one["ground_truth"],
        "underscore_to_dot": True,
    }
    [raw] = benchmark_rows.read("bfcl_simple_python", str(place), dots=True).rows
    assert parser.gold_calls(raw)[0]["name"] == "shapes.square"
    assert raw["bfcl"]["underscore_to_dot"] is False


def test_a_parameter_without_an_allowed_value_is_left_out_unless_it_is_required() -> None:
    from experiments.data.formats import bfcl_rows

    answer = [{"shapes.square": {"side": [""], "ink": [""], "at": []}}]
    row = bfcl_rows.convert(question(1), answer, "simple_python", dots=False)
    assert parser.gold_calls(row)[0]["arguments"] == {"side": ""}


def test_raw_documents_are_printed_as_upstream_prints_them(tmp_path: Path) -> None:
    own: Row = SQUARE | {"description": "Draw a square, größer 北 \U0001f600 <|im_end|>."}
    place = tmp_path / "bfcl"
    write(place / "BFCL_v4_irrelevance.json", [question(0, "Sing größer 北", function=[own])])
    more = (*SMALL, *named("bfcl_irrelevance", path=place))
    built = build("data.tools_form=bfcl_raw", *more)
    [encoded] = built.splits["bfcl_irrelevance"]
    suffix = " Note that the provided function is in Python 3 syntax."
    printed = json.dumps(own | {"description": own["description"] + suffix})
    assert f"\n{printed}\n" in prompt(built, encoded)
    assert "Sing größer 北" in prompt(built, encoded)
    ends = models.load_vocabulary(load().model).end_ids
    assert sum(token in ends for token in encoded.ids) == 2  # of the system and the user turn
    [mcp] = build("data.tools_form=mcp", *more).splits["bfcl_irrelevance"]
    assert '"inputSchema"' in prompt(built, mcp) and "größer" in prompt(built, mcp)


def test_a_row_without_a_gold_turn_is_a_prompt_that_ends_where_the_answer_begins(
    tmp_path: Path,
) -> None:
    place = tmp_path / "bfcl"
    history = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Sing."},
    ]
    rows = [question(0, "Sing"), question(1, question=[history])]
    write(place / "BFCL_v4_live_relevance.json", rows)
    built = build(*SMALL, *named("bfcl_live_relevance", path=place))
    encoded = built.splits["bfcl_live_relevance"]
    assert all(e.trained == () and e.prompt_length == len(e.ids) for e in encoded)
    assert prompt(built, encoded[0]).endswith("Sing<|im_end|>\n<|im_start|>assistant\n")
    assert "Hi.<|im_end|>" in prompt(built, encoded[1])
    assert not any(parser.gold_calls(e.row) for e in encoded)
    assert encoded[0].row["expects"] == "call"
    assert encoded[0].row["bfcl"]["ground_truth"] is None
    eval_spec = load(*named("bfcl_live_relevance", path=place)).eval
    assert built.answer_budget(eval_spec, "bfcl_live_relevance") == 512


def test_what_cannot_be_asked_is_rejected_with_its_reason_and_counted(tmp_path: Path) -> None:
    place = folder(tmp_path, 30)
    bad = [
        question(0),
        question(40),
        question(41, question=[[], []]),
        question(42, question=[[{"role": "tool", "content": "x"}]]),
        question(43, function=[SQUARE, SQUARE]),
    ]
    more = [question(i) for i in range(30)] + bad
    write(place / "BFCL_v4_simple_python.json", more)
    built = build(*SMALL, *named("bfcl_simple_python", path=place))
    facts = built.counts["benchmarks"]["bfcl_simple_python"]
    assert facts["rows"] == {"bfcl_simple_python": 30}
    assert facts["rejected"] == {
        "duplicate_id": 1,
        "no_gold_answer": 1,
        "unknown_layout": 1,
        "unknown_role": 1,
        "duplicate_tool_name": 1,
    }
    assert facts["examples"]["no_gold_answer"][0].startswith("BFCL_v4_simple_python.json, line 32")
    assert list(facts["files"]) == [
        "BFCL_v4_simple_python.json",
        "possible_answer/BFCL_v4_simple_python.json",
    ]
    assert all(len(digest) == 64 for digest in facts["files"].values())
    assert facts["commit"] is None


def test_a_file_that_is_mostly_unreadable_stops_the_run(tmp_path: Path) -> None:
    place = folder(tmp_path, 3)
    write(place / "possible_answer" / "BFCL_v4_simple_python.json", [truth(0)])
    with pytest.raises(DataError, match=r"2 of 3 rows cannot be used .*no_gold_answer \(2"):
        benchmark_rows.read("bfcl_simple_python", str(place), dots=False)


def test_a_missing_file_an_ambiguous_one_and_a_missing_folder_have_their_sentence(
    tmp_path: Path,
) -> None:
    place = folder(tmp_path)

    def refused(name: str, path: Path) -> str:
        with pytest.raises(DataError) as caught:
            benchmark_rows.read(name, str(path), dots=False)
        return str(caught.value)

    assert "contains no BFCL_v[0-9]_multiple.json" in refused("bfcl_multiple", place)
    assert "there is no such file or folder" in refused("bfcl_multiple", tmp_path / "none")
    write(tmp_path / "copy" / "BFCL_v3_simple.json", [question(0)])
    assert "contains 2 files that match eval.benchmarks=bfcl_simple_python" in refused(
        "bfcl_simple_python", tmp_path
    )
    (place / "possible_answer" / "BFCL_v4_simple_python.json").unlink()
    assert "contains no possible_answer/BFCL_v[0-9]_simple.json or possible" in refused(
        "bfcl_simple_python", place
    )


def test_a_file_is_found_below_a_folder_and_by_its_own_path(tmp_path: Path) -> None:
    place = folder(tmp_path / "deep" / "inside")
    by_file = place / "BFCL_v4_simple_python.json"
    for path in (tmp_path, place, by_file):
        found = benchmark_rows.read("bfcl_simple_python", str(path), dots=False)
        assert len(found.rows) == 3
    assert list(found.files) == [by_file.name, f"possible_answer/{by_file.name}"]


def test_a_fixed_number_of_rows_is_drawn_by_their_ids(tmp_path: Path) -> None:
    def drawn(count: int, place: Path) -> list[str]:
        benchmark = benchmark_rows.read("bfcl_simple_python", str(place), dots=False)
        benchmark_rows.keep(benchmark, count)
        return [row["id"] for row in benchmark.rows]

    place = folder(tmp_path, count=40)
    ten = drawn(10, place)
    assert ten == drawn(20, place)[:10] and len(set(ten)) == 10
    assert ten != [f"simple_python_{i}" for i in range(10)]
    write(place / "BFCL_v4_simple_python.json", [question(i) for i in reversed(range(40))])
    assert drawn(10, place) == ten
    with pytest.raises(DataError, match=r"benchmark_rows\.bfcl_simple_python=41: it has 40 rows"):
        drawn(41, place)


def test_a_run_evaluates_the_drawn_rows_only(tmp_path: Path) -> None:
    asked = (*named("bfcl_simple_python", path=folder(tmp_path, count=20)), *SMALL)
    built = build(*asked, "eval.benchmark_rows={bfcl_simple_python:5}")
    assert len(built.splits["bfcl_simple_python"]) == 5
    assert built.counts["benchmarks"]["bfcl_simple_python"]["rows"] == {"bfcl_simple_python": 5}


def test_two_answers_to_one_question_are_refused(tmp_path: Path) -> None:
    place = folder(tmp_path)
    write(place / "possible_answer" / "BFCL_v4_simple_python.json", [truth(0), truth(0)])
    with pytest.raises(DataError, match="line 2: a second answer for simple_python_0"):
        benchmark_rows.read("bfcl_simple_python", str(place), dots=False)


def test_a_training_mixture_with_rows_of_a_benchmark_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path, 5)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"draw a SQUARE of {i} metres"},
                {"role": "assistant", "content": "Which one?"},
            ],
            "tools": [{"name": "shapes.square", "parameters": {}}],
        }
        for i in range(20)
    ]
    train = write(tmp_path / "train.jsonl", rows)
    whole = ("data.validation_share=0", "data.test_share=0", "data.cache=null")
    given = ("data=jsonl", f"data.path={train}", *whole)
    with pytest.raises(DataError) as caught:
        build(*given, *named("bfcl_simple_python", path=place))
    text = str(caught.value)
    assert text.startswith("5 of 20 training rows also occur in eval.benchmarks.bfcl_simple_python")
    assert "is simple_python_0 (near-duplicate)" in text
    write(train, rows[5:])
    assert len(build(*given, *named("bfcl_simple_python", path=place)).train) == 15


def test_rows_without_room_for_an_answer_count_as_unanswered_and_are_counted_apart(
    tmp_path: Path,
) -> None:
    place = folder(tmp_path, 3)
    long = question(1, "Draw " + "a square " * 600)
    write(place / "BFCL_v4_simple_python.json", [question(0), long, question(2)])
    more = (*SMALL, *named("bfcl_simple_python", path=place))
    built = build(*more)
    facts = built.counts["benchmarks"]["bfcl_simple_python"]
    assert facts["rows"] == {"bfcl_simple_python": 2}
    assert facts["too_long"] == {"bfcl_simple_python": 1}
    assert "bfcl_simple_python" not in built.counts["too_long"]
    assert [e.row["id"] for e in built.splits["bfcl_simple_python"]] == [
        "simple_python_0",
        "simple_python_2",
    ]
    [lost] = built.evaluated.unanswered("bfcl_simple_python", None)
    assert (lost["id"], lost["unheld"]) == ("simple_python_1", "too long")
    assert built.counts["unheld"]["bfcl_simple_python"] == {"too long": 1}
    assert built.evaluated.rows("bfcl_simple_python", None)["rows"] == 3
    with pytest.raises(DataError, match="none of its 3 prompts leaves room"):
        build(*more, "eval.max_new_tokens=1000")


def test_the_fingerprint_covers_prompts_and_what_answers_are_held_against(tmp_path: Path) -> None:
    place = folder(tmp_path)
    more = (*SMALL, *named("bfcl_simple_python", path=place))
    plain, first = build(*SMALL).fingerprint, build(*more).fingerprint
    assert plain != first == build(*more).fingerprint
    answer = place / "possible_answer" / "BFCL_v4_simple_python.json"
    write(answer, [truth(i) for i in (0, 1)] + [truth(2, ink=["blue", "red"])])
    assert build(*more).fingerprint != first


def test_rows_are_asked_as_published_whatever_the_training_rows_are_shown(tmp_path: Path) -> None:
    more = named("bfcl_simple_python", path=folder(tmp_path))
    unified = ("data.system_prompt=unify", "data.unified_system_prompt=Be brief.")
    shown = build(*SMALL, *unified, *more).splits["bfcl_simple_python"]
    assert shown == build(*SMALL, *more).splits["bfcl_simple_python"]


def nestful(tmp_path: Path) -> Path:
    place = tmp_path / "nestful"
    place.mkdir(parents=True)
    described = {"type": "String", "description": "A place", "required": True}
    specification = [
        {
            "name": "Find.Place",
            "description": "Find a place.",
            "query_parameters": {"text": described, "kind": {"allowed_values": ["a", "b"]}},
            "output_parameters": {"key": {"type": "string"}, "name": {"type": "string"}},
        },
        {"name": "Open", "arguments": {"key": {"required": True}}},
        {"name": "Open", "arguments": {"key": {"required": True}}},
    ]
    calls = [
        {"name": "Find.Place", "label": "var1", "arguments": {"text": "Oslo"}},
        {"name": "Open", "label": "var2", "arguments": {"key": "$var1.key$"}},
        {"name": "var_result", "arguments": {"opened": "$var2$"}},
    ]
    twice = [{**calls[0]}, {**calls[1], "label": "var1"}]
    samples = [{"input": f"Open Oslo {i}", "output": calls} for i in range(9)]
    samples.append({"input": "Open it", "output": twice})
    (place / "non-executable-sgd-data.json").write_text(json.dumps(samples))
    (place / "non-executable-sgd-spec.json").write_text(json.dumps(specification))
    return place


def test_nestful_calls_carry_their_labels_and_the_prompt_explains_them(tmp_path: Path) -> None:
    found = benchmark_rows.read("nestful_sgd", str(nestful(tmp_path)), dots=False)
    assert found.rejected == {"malformed_call": 1}
    first = found.rows[0]
    assert first["id"] == "nestful_sgd_0"
    assert parser.gold_calls(first) == [
        {"name": "Find.Place", "arguments": {"text": "Oslo"}, "label": "var1"},
        {"name": "Open", "arguments": {"key": "$var1.key$"}, "label": "var2"},
    ]
    assert first["nestful"] == {"result": {"opened": "$var2$"}}
    find, opened = first["tools"]
    assert find["function"]["description"] == "Find a place. Fields of the result: key, name."
    assert find["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "A place"},
            "kind": {"type": "string", "enum": ["a", "b"]},
        },
        "required": ["text", "kind"],
    }
    assert opened["function"]["name"] == "Open"
    assert "$var1.field$" in first["messages"][0]["content"]


def test_nestful_rows_of_the_hub_bring_their_own_tools(tmp_path: Path) -> None:
    calls = [
        {"name": "divide", "label": "$var_1", "arguments": {"arg_0": 1, "arg_1": 2}},
        {"name": "add", "label": "$var_2", "arguments": {"arg_0": "$var_1.result$", "arg_1": 3}},
    ]
    number = {"description": "A number", "type": "int or float"}
    tools = [
        {"name": name, "description": name, "parameters": {"arg_0": number, "arg_1": number}}
        for name in ("add", "divide")
    ]
    sample = {
        "sample_id": "s-1",
        "input": "Half of one and three",
        "output": json.dumps(calls),
        "tools": json.dumps(tools),
        "gold_answer": "3.5",
    }
    write(tmp_path / "nestful_data.jsonl", [sample])
    [row] = benchmark_rows.read("nestful", str(tmp_path), dots=False).rows
    assert row["id"] == "s-1"
    assert [call["label"] for call in parser.gold_calls(row)] == ["var_1", "var_2"]
    assert "$var_1.field$" in row["messages"][0]["content"]
    properties = row["tools"][0]["function"]["parameters"]["properties"]
    assert properties["arg_0"]["anyOf"] == [{"type": "integer"}, {"type": "number"}]


def test_when2call_questions_have_the_right_answer_as_gold_turn(tmp_path: Path) -> None:
    document = json.dumps({"name": "ping", "parameters": {"type": "dict", "properties": {}}})
    texts = {
        "direct": "It is noon.",
        "tool_call": '<TOOLCALL>[{"name": "ping", "arguments": {}}]</TOOLCALL>',
        "request_for_info": "Which one?",
        "cannot_answer": "I cannot.",
    }
    rows = [
        {
            "uuid": f"u-{right}",
            "question": f"Do {right}",
            "correct_answer": right,
            "answers": texts,
            "tools": [document],
        }
        for right in texts
    ]
    plain = {"tool_call": '{"name": "ping", "arguments": {}}'}
    rows.append(rows[1] | {"uuid": "u-plain", "answers": texts | plain})
    write(tmp_path / "test" / "when2call_test_mcq.jsonl", rows)
    found = benchmark_rows.read("when2call_test", str(tmp_path), dots=False).rows
    assert [(row["category"], row.get("expects")) for row in found] == [
        ("direct", "answer"),
        ("tool_call", None),
        ("request_for_info", "question"),
        ("cannot_answer", "refusal"),
        ("tool_call", None),
    ]
    assert [parser.gold_calls(row) for row in found][1] == [{"name": "ping", "arguments": {}}]
    assert [parser.gold_calls(row) for row in found][4] == [{"name": "ping", "arguments": {}}]
    assert found[2]["messages"][-1]["content"] == "Which one?"


@pytest.mark.slow
def test_a_benchmark_named_as_a_test_source_is_sent_to_the_right_place(tmp_path: Path) -> None:
    place = folder(tmp_path)
    source = "+data@data.test_sources.bench=jsonl"
    for path in (place, place / "BFCL_v4_simple_python.json"):
        with pytest.raises(DataError, match=r"eval\.benchmarks=\[bfcl_simple_python\]"):
            build(source, f"data.test_sources.bench.path={path}", *SMALL)
    with pytest.raises(ConfigError, match=r"format=bfcl is a published test set: evaluate on it"):
        load(source, "data.test_sources.bench.path=x", "data.test_sources.bench.format=bfcl")


def test_a_benchmark_of_the_hub_without_a_network_names_eval_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"or set eval\.path=FOLDER") as caught:
        benchmark_rows.read("when2call_test", None, dots=False)
    assert "nvidia/When2Call" in str(caught.value)


def test_the_data_verb_lists_benchmarks_and_shows_one_row(cli: Cli, tmp_path: Path) -> None:
    place = folder(tmp_path)
    done = cli(
        *("data", *SMALL, *named("bfcl_simple_python", path=place), "--show", "1"), module=True
    )
    assert done.returncode == 0, done.stderr
    assert "--- simple_python_0 of bfcl_simple_python" in done.stdout
    assert "benchmark bfcl_simple_python: 3 rows, 0 rejected" in done.stdout
    assert "file possible_answer/BFCL_v4_simple_python.json, sha256 " in done.stdout
    assert "bfcl_simple_python: 3 rows, tokens p50" in done.stdout


@pytest.mark.slow
def test_a_run_ends_with_scores_under_the_benchmarks_name(cli: Cli, tmp_path: Path) -> None:
    place = folder(tmp_path)
    write(place / "BFCL_v4_irrelevance.json", [question(i, f"Sing {i}") for i in range(3)])
    done = cli(
        *SMOKE,
        *named("bfcl_simple_python", "bfcl_irrelevance", path=place),
        *("eval.limit=2", "hydra.run.dir=run", "data.cache=null"),
    )
    assert done.returncode == 0, done.stderr
    assert "benchmark bfcl_simple_python: 3 rows, too long 0, rejected 0" in done.stdout
    record = records.read(tmp_path / "run" / "run.json")
    scores, counts = record.scores["tuned"], record.counts["tuned"]
    assert counts["bfcl_simple_python/bfcl_ast/valid"] == 2
    assert scores["bfcl_simple_python/loss/nll"] > 0
    assert counts["bfcl_irrelevance/restraint/correct"] == 2
    assert "bfcl_irrelevance/loss/nll" not in scores
    asked = [i["id"] for i in records.items(record) if i["split"] == "bfcl_irrelevance"]
    assert asked == ["simple_python_0", "simple_python_1"] * 2
    assert record.data["benchmarks"]["bfcl_simple_python"]["files"]


@pytest.mark.parametrize(
    ("category", "count"),
    [
        *(("simple_python", 400), ("multiple", 200), ("parallel", 200)),
        *(("parallel_multiple", 200), ("irrelevance", 240), ("live_simple", 258)),
        *(("live_multiple", 1053), ("live_parallel", 16), ("live_parallel_multiple", 24)),
        *(("live_irrelevance", 884), ("live_relevance", 16)),
    ],
)
def test_every_published_bfcl_row_can_be_asked(shared: Path, category: str, count: int) -> None:
    found = benchmark_rows.read(f"bfcl_{category}", str(shared), dots=False)
    assert len(found.rows) == count and not found.rejected
    assert len({row["id"] for row in found.rows}) == count
    for row in found.rows:
        assert bool(parser.gold_calls(row)) == (not category.endswith("relevance"))
        assert all("." not in tool["function"]["name"] for tool in row["tools"])


@pytest.mark.parametrize(
    ("name", "kept", "rejected"),
    [
        ("nestful_executable", 85, {}),
        ("nestful_glaive", 157, {"unknown_function": 10, "malformed_call": 2}),
        ("nestful_sgd", 44, {"malformed_call": 2}),
        ("seal_tools_test_in_domain", 698, {}),
        ("seal_tools_test_out_domain", 651, {}),
    ],
)
def test_the_other_published_sets_are_read(
    shared: Path, name: str, kept: int, rejected: dict[str, int]
) -> None:
    found = benchmark_rows.read(name, str(shared), dots=False)
    assert len(found.rows) == kept
    assert dict(found.rejected) == rejected
