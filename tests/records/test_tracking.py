"""trackio gets flat configs, curves at their steps, and final scores; locally and offline."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from conftest import FEW_ROWS, SMOKE, Cli, load
from experiments import config
from experiments.records import tracking


def test_a_config_becomes_flat_scalars_in_a_stable_order() -> None:
    flat = tracking.flat(config.canonical(load("lora=attention")))
    assert flat["lora/r"] == 16
    assert flat["lora/target_modules"] == "k_proj,o_proj,q_proj,v_proj"
    assert all(isinstance(v, str | int | float | bool | None) for v in flat.values())
    assert tracking.flat({"n": 10**30, "_x": {3, 1}}) == {"n": 2**63 - 1, "x": "1,3"}


def test_names_are_short_and_unique() -> None:
    runs = [load(), load("seed=1"), load("lora.r=8"), load("lora=none"), load("name=mine")]
    names = [tracking.short_name(run, config.run_id(run)) for run in runs]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 48


@pytest.mark.slow
def test_a_run_stands_in_trackio_with_its_group_curve_and_scores(cli: Cli, tmp_path: Path) -> None:
    on = [text for text in SMOKE if text != "tracker=none"]
    done = cli(*on, "hydra.run.dir=outputs/study/0", "eval.base=false", TRACKIO_DIR="")
    assert done.returncode == 0, done.stderr
    [database] = (tmp_path / "outputs" / "trackio").glob("*.db")
    with sqlite3.connect(database) as db:
        [(name, stored)] = db.execute("select run_name, config from configs").fetchall()
        rows = db.execute("select step, metrics from metrics order by step").fetchall()
    db.close()
    flat = json.loads(stored)
    assert flat["_Group"] == "study"
    assert flat["lora/r"] == 16 and flat["seed"] == 0
    assert re.match(r"all_linear,r=16,lr=[0-9.e-]+,s0,[0-9a-f]{6}$", name)
    merged: dict[int, dict[str, float]] = {}
    for step, metrics in rows:
        merged.setdefault(step, {}).update(json.loads(metrics))
    assert set(merged) == {1, 2, 3, 4}
    assert {"train/loss", "validation/nll"} <= set(merged[2])
    assert "final/calls/exact" in merged[4] and "final/loss/nll" in merged[4]


@pytest.mark.slow
def test_the_tracker_can_be_switched_off(cli: Cli, tmp_path: Path) -> None:
    assert cli(*FEW_ROWS).returncode == 0
    assert not (tmp_path / "outputs" / "trackio").exists()
