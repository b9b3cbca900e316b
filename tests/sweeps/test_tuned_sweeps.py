"""A tuned sweep from the command line: what it runs, how it goes on, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import ROOT, SMOKE, Cli
from experiments import records
from experiments.analysis import arms
from experiments.errors import ConfigError
from experiments.sweeps.hydra import grid
from experiments.sweeps.hydra import tuning_validation as refusals

LINE = ("-m", "hydra/sweeper=tuned", "hydra.sweep.dir=out", *SMOKE, "eval.max_new_tokens=1")
SEEDS = "hydra.sweeper.seeds=[0,43]"


def test_the_sweeper_named_tuned_is_ours() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        given = compose("config", ["hydra/sweeper=tuned"], return_hydra_config=True).hydra.sweeper
    assert given._target_ == "hydra_plugins.experiments_sweepers.TunedSweeper"
    assert (given.seeds, given.rates, given.furthest, given.score) == (None, None, 12, "loss/nll")


@pytest.mark.slow
def test_a_tuned_sweep_searches_decides_and_reuses_what_is_finished(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("A short text that nobody is trained on.\n" * 40)
    text = "eval.held_out_text=text.txt"
    line = (*LINE, SEEDS, text, "hydra.sweeper.furthest=2", "hydra.sweeper.margin=0.25")
    first = cli(*line)
    assert first.returncode == 0, first.stderr
    assert "1 arm, 10 runs expected, 20 at most each" in first.stdout
    made = records.read_all(tmp_path / "out")
    rates = {record.config["trainer"]["learning_rate"] for record in made}
    assert {0.00178, 0.00562, 0.0178} <= rates  # in half decades around the recipe's 5e-3
    assert {record.config["seed"] for record in made} == {0, 43}
    assert len({record.job for record in made}) == len(made)
    [arm] = arms.read(made)
    written = json.loads((tmp_path / "out" / "tuning.json").read_text())
    tuned = arms.tune(arm, (0, 43))
    assert written[0]["best_rate"] == tuned.best
    assert [point["rate"] for point in written[0]["curve"]] == sorted(rates)
    compared = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert compared == {"score": "loss/nll", "margin": 0.25}
    before = {record.folder.name: record.path.read_bytes() for record in made}
    again = cli(*line, "hydra.sweeper.repeats=1")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before in") == 1  # one run says whether all still hold
    after = records.read_all(tmp_path / "out")
    repeats = [r for r in after if r.folder.name not in before]
    assert {r.folder.name: r.path.read_bytes() for r in after if r not in repeats} == before
    assert [r.provenance["rerun"] for r in repeats] == [True]
    floor = arms.repeats(after)
    assert floor is not None and (floor.deviation, floor.runs) == (0.0, 2)  # a CPU repeats exactly
    assert "Noise floor of loss/nll: 0" in again.stdout
    status = cli("status", "out", module=True)
    assert status.stdout.startswith(f"out: {len(made)} finished, 0 to do")


KEYS: dict[str, Any] = {
    "seeds": None, "rates": None, "furthest": 12, "score": "loss/nll", "margin": None, "arms": None,
    "repeats": 0, "rules": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "keys", "sentence"),
    [
        ("seed=0,1", {}, "seed=0,1: hydra/sweeper=tuned gives every arm the same seeds; list them "
         "in hydra.sweeper.seeds."),
        ("trainer.learning_rate=1e-2,1e-3", {}, "trainer.learning_rate=1e-2,1e-3: hydra/sweeper="
         "tuned chooses the rates; give one rate as the middle of the first grid, or its ends in "
         "hydra.sweeper.rates, not both."),
        ("trainer.learning_rate=1e-2", {"rates": [1e-3, 1e-2]}, "trainer.learning_rate=1e-2: "
         "hydra/sweeper=tuned chooses the rates; give one rate as the middle of the first grid, "
         "or its ends in hydra.sweeper.rates, not both."),
        ("lora.lora_dropout=interval(0,1)", {},
         "lora.lora_dropout=interval(0,1): arms are listed, an interval has no list; "
         "name values, or search with hydra/sweeper=optuna."),
        ("lora.r=4", {"seeds": [0, 0]}, "hydra.sweeper.seeds=[0, 0]: give different seeds, 5 or "
         "more."),
        ("lora.r=4", {"rates": [0.1, 0.01]}, "hydra.sweeper.rates=[0.1, 0.01]: give the two ends "
         "of the first grid, such as [1e-3,3e-2], or leave it out for a decade around each arm's "
         "own rate."),
        ("lora.r=4", {"furthest": -1}, "hydra.sweeper.furthest=-1: must be at least 0."),
        ("lora.r=4", {"margin": 0}, "hydra.sweeper.margin=0: must be above 0, in the unit of "
         "loss/nll; null = intervals without verdicts."),
        ("lora.r=4", {"score": "mine"}, "hydra.sweeper.score=mine: no metric declares its "
         "direction; name a score of the test split such as loss/nll or calls/exact."),
        ("lora.r=4", {"arms": [["lora=none"], ["seed=1"]]}, "hydra.sweeper.arms: seed=1: rates "
         "and seeds are chosen by hydra/sweeper=tuned; see hydra.sweeper.rates and "
         "hydra.sweeper.seeds."),
    ],
)  # fmt: skip
def test_a_key_without_a_meaning_is_refused(line: str, keys: dict[str, Any], sentence: str) -> None:
    parsed = OverridesParser.create().parse_overrides([line])
    with pytest.raises(ConfigError) as caught:
        refusals.refuse(KEYS | keys, parsed)
        grid.arms(parsed, (KEYS | keys)["arms"])
    assert str(caught.value) == sentence


def test_arms_that_are_no_grid_are_listed_and_meet_every_cell_of_it() -> None:
    parsed = OverridesParser.create().parse_overrides(["data.limit=9,18", "tracker=none"])
    listed = [["lora=none"], ["lora=all_linear", "lora.r=4"]]
    assert grid.arms(parsed, listed) == [
        [f"data.limit={limit}", "tracker=none", *one] for one in listed for limit in (9, 18)
    ]


@pytest.mark.slow
def test_illegal_arms_are_all_named_and_none_is_started(cli: Cli, tmp_path: Path) -> None:
    listed = "hydra.sweeper.arms=[['lora=none','lora.r=4'],['data.validation_rows=0'],['lora=qv']]"
    done = cli(*LINE, listed)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "2 of 3 arms are illegal, none was started:" in done.stderr
    assert "lora.r is set with lora=none" in done.stderr
    assert "rates are chosen on the validation split, and there is none" in done.stderr
    assert not list(tmp_path.glob("**/run.json"))


@pytest.mark.parametrize(
    "rule",
    [{"arm": 2, "rate": 1e-3}, {"arm": 0, "rate": "twice"}, {"arm": 0}, {"arm": 0, "rate": 0}],
)
def test_a_rule_that_names_no_arm_or_no_rate_is_refused_in_one_sentence(rule: Any) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.rules: .* give arm \(0 to 1, "):
        refusals.refuse_rules([rule], 2)
    refusals.refuse_rules([{"arm": 1, "rate": "ten_times"}, {"arm": 0, "rate": 1e-3}], 2)
