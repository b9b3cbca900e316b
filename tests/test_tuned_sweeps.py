"""A tuned sweep from the command line: what it runs, how it goes on, what it refuses."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from conftest import ROOT, SMOKE, Cli
from experiments import arms, records

LINE = ("-m", "hydra/sweeper=tuned", "hydra.sweep.dir=out", *SMOKE, "trainer.max_steps=2")
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
    line = (*LINE, SEEDS, "hydra.sweeper.rates=[1e-2,1e-2]", "hydra.sweeper.furthest=3")
    refused = cli(*line)
    assert "hydra.sweeper.rates=[0.01, 0.01]: give the two ends" in refused.stderr
    line = (*LINE, SEEDS, "hydra.sweeper.rates=[1e-2,3e-2]", "hydra.sweeper.furthest=3")
    first = cli(*line)
    assert first.returncode == 0, first.stderr
    assert "1 arms, at least 10 runs" in first.stdout
    made = records.read_all(tmp_path / "out")
    rates = {record.config["trainer"]["learning_rate"] for record in made}
    assert {0.01, 0.0178, 0.0316} < rates
    assert {record.config["seed"] for record in made} == {0, 43}
    assert len({record.job for record in made}) == len(made)
    [arm] = arms.read(made)
    written = json.loads((tmp_path / "out" / "tuning.json").read_text())
    tuned = arms.tune(arm, (0, 43))
    assert written[0]["best_rate"] == tuned.best
    assert [point["rate"] for point in written[0]["curve"]] == sorted(rates)
    before = {record.folder.name: record.path.read_bytes() for record in made}
    again = cli(*line)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished before in") == 1  # one run says whether all still hold
    assert {
        r.folder.name: r.path.read_bytes() for r in records.read_all(tmp_path / "out")
    } == before
    status = cli("status", "out", module=True)
    assert status.stdout.startswith(f"out: {len(made)} finished, 0 to do")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["seed=0,1"], "seed=0,1: hydra/sweeper=tuned gives every arm the same seeds; list them "
         "in hydra.sweeper.seeds."),
        (["trainer.learning_rate=1e-2,1e-3"], "trainer.learning_rate=1e-2,1e-3: hydra/sweeper="
         "tuned chooses the rates; give one rate as the middle of the first grid, or its ends in "
         "hydra.sweeper.rates, not both."),
        (["hydra.sweeper.seeds=[0,0]"], "hydra.sweeper.seeds=[0, 0]: give different seeds, 5 or "
         "more."),
        (["hydra.sweeper.score=mine"], "hydra.sweeper.score=mine: no metric declares its "
         "direction; name a score of the test split such as loss/nll or calls/exact."),
        (["lora.r=4,0"], "1 of 2 arms are illegal, none was started:"),
        (["data.validation_rows=0"], "1 of 1 arms are illegal, none was started:"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_tuned_sweep_is_one_sentence_and_starts_nothing(
    cli: Cli, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = cli(*LINE, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert line.removeprefix("error: ").startswith(sentence)
    assert not list(tmp_path.glob("**/run.json"))
