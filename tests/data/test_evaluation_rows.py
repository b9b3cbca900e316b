"""What is trained on never changes what is asked: weights, fractions, limits, mixtures, models."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import load
from experiments import data, models
from experiments.config import RunConfig
from experiments.config.categories import CATEGORIES

SMALL = (
    *("data.train_rows=90", "data.validation_rows=18", "data.test_rows=36"),
    *("data.unseen_values_rows=9", "data.unseen_tools_rows=9", "data.cache=null"),
)


def build(run: RunConfig) -> data.TrainData:
    vocabulary = models.load_vocabulary(load().model)
    ends, positions = vocabulary.end_ids, vocabulary.positions or 1024
    return data.build(run, vocabulary.tokenizer, end_ids=ends, positions=positions)


def asked(*overrides: str) -> dict[str, dict[str, Any]]:
    run = load(*overrides)
    return build(run).evaluation_rows(run.eval)


def rows(count: int, word: str = "say", **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"{word} {i}", "completion": f"{word} {i}!", **more} for i in range(count)]


def write(path: Path, members: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in members), encoding="utf-8")
    return path


def from_file(path: Path, *more: str) -> tuple[str, ...]:
    shares = ("data.validation_share=0.2", "data.test_share=0.2", "data.cache=null")
    return ("data=jsonl", f"data.path={path}", *shares, *more)


def mixture(folder: Path, *more: str) -> tuple[str, ...]:
    files = {
        "mine": write(folder / "mine.jsonl", rows(20, "mine") + rows(8, "both")),
        "other": write(folder / "other.jsonl", rows(120, "other") + rows(8, "BOTH")),
    }
    named = [
        text
        for name, path in files.items()
        for text in (
            f"+data@data.sources.{name}=jsonl",
            f"data.sources.{name}.path={path}",
            f"data.sources.{name}.weight=1",
        )
    ]
    built_in = ("+data@data.sources.mcp=builtin_mcp", "data.sources.mcp.train_rows=30")
    shares = ("data.validation_share=0.2", "data.test_share=0.2", "data.cache=null")
    return ("data=mixture", *named, *built_in, "data.sources.mcp.weight=1", *shares, *more)


@pytest.mark.parametrize("weight", [0, 4])
def test_weights_of_categories_change_training_rows_only(weight: int) -> None:
    plain, other = build(load(*SMALL)), build(load(*SMALL, f"data.weights.parallel={weight}"))
    for split in ("validation", "test", "unseen_values", "unseen_tools"):
        assert [e.row for e in plain.splits[split]] == [e.row for e in other.splits[split]]
    drawn = {one.counts["categories"].get("parallel", 0) for one in (plain, other)}
    assert drawn == {10, {0: 0, 4: 30}[weight]}


@pytest.mark.parametrize("more", ["data.fraction=0.2", "data.limit=7"])
def test_a_fraction_or_a_limit_of_a_file_thins_training_rows_only(
    more: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "rows.jsonl", rows(100))
    assert asked(*from_file(path)) == asked(*from_file(path, more))
    assert len(build(load(*from_file(path, more))).train) == (12 if "fraction" in more else 7)


def test_rows_are_held_back_by_their_content_and_not_by_their_place(tmp_path: Path) -> None:
    forwards = write(tmp_path / "a.jsonl", rows(60))
    backwards = write(tmp_path / "b.jsonl", rows(60)[::-1])
    assert asked(*from_file(forwards)) == asked(*from_file(backwards))
    assert asked(*from_file(forwards)) != asked(*from_file(forwards, "data.seed=1"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["data.sources.other.weight=0"],
        ["data.sources.mcp.weight=0"],
        ["data.sources.mine.weight=3"],
        ["data.total=40"],
        ["data.weight_by=tokens"],
        ["data.sources.other.limit=10", "data.sources.mine.fraction=0.5"],
    ],
)
def test_weights_total_and_parts_of_sources_change_training_rows_only(
    more: list[str], tmp_path: Path
) -> None:
    plain, other = build(load(*mixture(tmp_path))), build(load(*mixture(tmp_path, *more)))
    spec = load().eval
    assert plain.evaluation_rows(spec) == other.evaluation_rows(spec)
    assert [e.row["id"] for e in plain.train] != [e.row["id"] for e in other.train]
    asked_rows = {e.row["keys"]["near"] for e in other.splits["test"] + other.validation}
    assert not asked_rows & {e.row["keys"]["near"] for e in other.train}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ["data.system_prompt=drop"],
        ["data.tools_form=mcp"],
        ["data.thinking=keep"],
        ["trainer.max_length=170"],
    ],
)
def test_how_rows_are_shown_and_how_long_they_may_be_is_no_part_of_which_they_are(
    more: list[str],
) -> None:
    assert asked(*SMALL) == asked(*SMALL, *more)


@pytest.mark.slow
def test_the_rows_that_are_asked_are_told_apart_by_number_and_content() -> None:
    plain = asked(*SMALL)
    assert {split: one["rows"] for split, one in plain.items()} == {
        **{"validation": 18, "test": 36},
        **{"unseen_values": 9, "unseen_tools": 9},
    }
    fewer = asked(*SMALL, "eval.limit=20")
    assert fewer["test"] != plain["test"] and fewer["validation"] == plain["validation"]
    assert asked(*SMALL, "data=tool_calls")["test"]["sha256"] != plain["test"]["sha256"]


def test_a_test_row_that_is_too_long_stays_a_row_of_its_split() -> None:
    run = load(*SMALL, "trainer.max_length=170", "eval.limit=20")
    built, whole = build(run), build(load(*SMALL))
    held, lost = dict(built.evaluated_splits(run.eval)), built.evaluated.unanswered("test", 20)
    first = [e.row["id"] for e in whole.splits["test"][:20]]
    assert {e.row["id"] for e in held["test"]} | {row["id"] for row in lost} == set(first)
    assert lost and len(held["test"]) + len(lost) == 20
    assert {row["unheld"] for row in lost} == {"too long"}
    assert all(e.ids for e in built.splits["test"])
    assert built.counts["unheld"]["test"]["too long"] == built.counts["too_long"]["test"]


def test_a_row_that_a_model_cannot_hold_fails_every_score_that_applies_to_it() -> None:
    from experiments.evaluation import item_scores, unanswered
    from experiments.toolcalls.parser.forms import HERMES_TAGS

    names = ("calls", "plan_graph", "restraint", "json_output", "bfcl_ast")
    split = [{**e.row, "unheld": "too long"} for e in build(load(*SMALL)).splits["test"]]
    items = list(unanswered.items(split, {"model": "base", "split": "test"}))
    item_scores.score(items, split, names, HERMES_TAGS)
    assert len(items) == 36
    for row, item in zip(split, items, strict=True):
        assert set(item["scores"].values()) == {0.0}
        assert ("calls/exact" in item["scores"]) == bool(row["messages"][-1].get("tool_calls"))
        assert item["stop_reason"] == "too long" and item["text"] == ""


@pytest.mark.slow
def test_the_default_mixture_of_categories_is_asked_what_it_was() -> None:
    from experiments.data import toolworld

    built = build(load("data.train_rows=9", "data.cache=null"))
    made = toolworld.rows("test", 540, seed=1, weights=dict.fromkeys(CATEGORIES, 1.0))
    assert [e.row["id"] for e in built.splits["test"]] == [row["id"] for row in made]


@pytest.mark.slow
def test_a_mixture_that_uses_little_of_a_source_warns_with_numbers_and_keys(tmp_path: Path) -> None:
    files = {"mine": rows(20, "mine"), "other": rows(822, "other")}
    named = []
    for weight, (name, members) in enumerate(files.items(), 1):
        path = write(tmp_path / f"{name}.jsonl", members)
        key = f"data.sources.{name}"
        named += [f"+data@{key}=jsonl", f"{key}.path={path}", f"{key}.weight={weight}"]
    shares = ("data.validation_share=0", "data.test_share=0", "data.cache=null")
    [text] = build(load("data=mixture", *named, *shares)).counts["warnings"]
    assert text == (
        "the mixture trains on 40 of the 822 rows of other (5%): the 20 rows of mine "
        "(data.sources.mine.weight=1) run out first and no row is repeated; set data.total "
        "to repeat them (data.total=1233 uses each row of other once), or change "
        "data.sources.other.weight=2"
    )
    [text] = build(load("data=mixture", *named, *shares, "data.total=1233")).counts["warnings"]
    assert text.startswith("the mixture repeats the 20 rows of mine 20.6 times (data.total=1233)")


def test_a_split_of_few_rows_warns_and_names_its_key(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", rows(20))
    shares = ("data.validation_share=0.01", "data.test_share=0.1", "data.cache=null")
    found = build(load("data=jsonl", f"data.path={path}", *shares)).counts["warnings"]
    assert [text.split(":")[0] for text in found] == [
        "the validation split has 0 rows; scores of fewer than 20 are not reliable",
        "the test split has 2 rows; scores of fewer than 20 are not reliable",
    ]
    assert "raise data.validation_share=0.01" in found[0]
    assert "raise data.test_share=0.1" in found[1]
    enough = write(tmp_path / "more.jsonl", rows(300))
    built = build(load("data=jsonl", f"data.path={enough}", *shares, "data.validation_share=0.1"))
    assert built.counts["warnings"] == []
