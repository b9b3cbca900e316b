"""Runs whose seeds draw their training rows are one arm, and share the scores of the base."""

from pathlib import Path

import pytest

from conftest import SMOKE, load
from experiments import records, runs
from experiments.analysis import arms
from experiments.records import Record
from experiments.runs import Job

FOLLOW = (*SMOKE, "hardware=cpu", "data.train_seed=seed")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return [
            runs.run_one(load(*FOLLOW, f"seed={seed}"), Job(folder / str(seed))).record
            for seed in (0, 1)
        ]


def test_the_scores_of_the_base_are_copied_between_seeds(sweep: list[Record]) -> None:
    first, second = sweep
    assert first.identity["data_fingerprint"] != second.identity["data_fingerprint"]
    assert first.data["evaluation_rows"] == second.data["evaluation_rows"]
    assert second.provenance["base_scores_from"].startswith(first.run_id)
    assert second.scores["base"] == first.scores["base"]


def test_records_tell_the_rows_that_each_seed_drew(sweep: list[Record]) -> None:
    drawn = [records.read(record.path).data["training_rows"] for record in sweep]
    assert [rows["seed"] for rows in drawn] == [0, 1]
    assert drawn[0]["sha256"] != drawn[1]["sha256"]


def test_seeds_with_their_own_rows_are_one_arm_without_a_remark(sweep: list[Record]) -> None:
    [arm] = arms.read(sweep)
    assert [run.seed for run in arm.runs] == [0, 1]
    assert "mixed_data" not in [reason.code for reason in arm.reasons]


def test_other_rows_at_the_same_seed_are_still_named(sweep: list[Record], tmp_path: Path) -> None:
    stranger = records.read(sweep[0].path)
    stranger.identity = stranger.identity | {"data_fingerprint": "other"}
    stranger.config["trainer"] = stranger.config["trainer"] | {"learning_rate": 0.123}
    [arm] = arms.read([*sweep, stranger])
    assert "mixed_data" in [reason.code for reason in arm.reasons]
