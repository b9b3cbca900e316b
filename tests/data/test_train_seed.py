"""Each seed may train on other rows; validation and test rows stay, and no row is in both."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import config, data, models
from experiments.config import RunConfig
from experiments.data import TrainData, toolworld
from experiments.errors import ConfigError

FEW = (*SMOKE, "hardware=cpu", "data.train_rows=27", "data.unseen_tools_rows=9")
FOLLOW = "data.train_seed=seed"


def built(*overrides: str) -> tuple[RunConfig, TrainData]:
    run = load(*FEW, *overrides) if "data=jsonl" not in overrides else load(*overrides)
    vocabulary = models.load_vocabulary(run.model)
    rows = data.build(
        run,
        vocabulary.tokenizer,
        end_ids=vocabulary.end_ids,
        positions=vocabulary.positions or 1024,
    )
    return run, rows


def tokens(rows: TrainData, split: str) -> list[bytes]:
    return [encoded.ids.tobytes() for encoded in rows.splits[split]]


def test_by_default_all_seeds_train_on_the_same_rows() -> None:
    (_, first), (_, second) = built("seed=0"), built("seed=1")
    assert first.fingerprint == second.fingerprint
    assert first.counts["training_rows"] == second.counts["training_rows"]
    assert first.counts["training_rows"]["seed"] == load(*FEW).data.seed


def test_each_seed_draws_its_training_rows_and_shares_all_others() -> None:
    made = [built(FOLLOW, f"seed={seed}")[1] for seed in (0, 1, 2)]
    for split in ("validation", "test", "unseen_tools"):
        assert tokens(made[0], split) == tokens(made[1], split) == tokens(made[2], split)
    assert len({tuple(tokens(rows, "train")) for rows in made}) == 3
    assert len({rows.counts["training_rows"]["sha256"] for rows in made}) == 3
    assert [rows.counts["training_rows"]["seed"] for rows in made] == [0, 1, 2]
    assert made[1].fingerprint == built("data.seed=1")[1].fingerprint


def test_a_number_fixes_the_draw_whatever_the_seed() -> None:
    (_, first), (_, second) = (built("data.train_seed=5", f"seed={seed}") for seed in (0, 1))
    assert first.fingerprint == second.fingerprint == built(FOLLOW, "seed=5")[1].fingerprint


@pytest.mark.parametrize("seed", range(12))
def test_generated_training_rows_are_in_no_evaluation_split_of_any_seed(seed: int) -> None:
    def prompts(split: str, seed: int) -> set[str]:
        rows = toolworld.rows(split, 90, seed=seed)
        return {json.dumps([row["messages"][:-1], row["tools"]], sort_keys=True) for row in rows}

    train = prompts("train", seed)
    for split in toolworld.SPLITS[1:]:
        assert not train & (prompts(split, 0) | prompts(split, 1)), split


def lines(folder: Path) -> str:
    file = folder / "rows.jsonl"
    rows = ({"prompt": f"Question {i}?", "completion": f"Answer {i}."} for i in range(80))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"data.path={file}"


def texts(rows: TrainData, split: str) -> set[bytes]:
    return set(tokens(rows, split))


@pytest.mark.parametrize("cache", [True, False])
def test_rows_of_a_file_are_drawn_from_what_is_not_held_back(tmp_path: Path, cache: bool) -> None:
    stored = f"data.cache={tmp_path}/cache" if cache else "data.cache=null"
    given = ("data=jsonl", lines(tmp_path), stored, "data.limit=20", "tracker=none")
    made = [built(*given, FOLLOW, f"seed={seed}")[1] for seed in (0, 1)]
    whole = built("data=jsonl", lines(tmp_path), stored, "tracker=none")[1]
    assert len(texts(made[0], "train") & texts(made[1], "train")) < 20
    for rows in made:
        assert len(rows.train) == 20
        assert texts(rows, "train") < texts(whole, "train")
        for split in ("validation", "test"):
            assert tokens(rows, split) == tokens(whole, split)


def test_a_mixture_is_drawn_by_the_seed(tmp_path: Path) -> None:
    given = ("data=mixture", "+data@data.sources.mine=jsonl", "data.sources.mine.weight=1")
    own = (lines(tmp_path).replace("data.path", "data.sources.mine.path"), "data.total=20")
    (_, first), (_, second) = (built_mixture(*given, *own, f"seed={seed}") for seed in (0, 1))
    assert tokens(first, "test") == tokens(second, "test")
    assert texts(first, "train") != texts(second, "train")


def built_mixture(*overrides: str) -> tuple[RunConfig, TrainData]:
    run = load(*overrides, FOLLOW, "hardware=cpu", "data.cache=null")
    vocabulary = models.load_vocabulary(run.model)
    return run, data.build(
        run,
        vocabulary.tokenizer,
        end_ids=vocabulary.end_ids,
        positions=vocabulary.positions or 1024,
    )


def test_ids_of_runs_without_the_key_stay_and_each_draw_has_its_own() -> None:
    def run_id(*overrides: str) -> str:
        return config.run_id(load(*FEW, *overrides))

    ids: list[Any] = [run_id(), run_id(FOLLOW), run_id("data.train_seed=1"), run_id("seed=1")]
    ids.append(run_id(FOLLOW, "seed=1"))
    assert len(set(ids)) == 5
    assert "train_seed" not in config.without_nulls(config.canonical(load(*FEW))["data"])


@pytest.mark.parametrize(
    ("value", "words"),
    [("row", "must be a number"), ("-1", "must be a number"), ("true", "must be a number")],
)
def test_another_value_is_refused(value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(*FEW, f"data.train_seed={value}")


def test_a_file_of_which_every_row_is_trained_on_has_no_draw(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all rows of the files are trained on"):
        load("data=jsonl", lines(tmp_path), "data.train_seed=5")
    made = [built("data=jsonl", lines(tmp_path), FOLLOW, f"seed={seed}")[1] for seed in (0, 1)]
    assert texts(made[0], "train") == texts(made[1], "train")  # a sweep that draws takes any file
