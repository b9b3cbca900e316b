"""The groups `rank` and `lr` are the plain keys under another name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT, composed, load
from experiments import config
from experiments.config import RunConfig, choices
from experiments.errors import ConfigError
from experiments.sweeps.hydra import dry_run, job_batch

RANKS = sorted(path.stem for path in (ROOT / "conf" / "rank").glob("*.yaml"))
RATES = sorted(path.stem for path in (ROOT / "conf" / "lr").glob("*.yaml"))


def plan(*words: str) -> dict[str, str]:
    """Return the ids of a sweep's runs by the names of the runs."""
    found = dry_run.read(words, ROOT / "conf").runs
    return {name: config.run_id(run) for name, run in found}


def value_in(group: str, name: str) -> Any:
    """Return the value of the only key in a file of a group."""
    tree = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8"))
    assert list(tree) == [group]
    return tree[group]


def test_every_file_sets_the_value_that_it_is_named_after() -> None:
    assert {"r1", "r2", "r4", "r8", "r16", "r32", "r64", "r128", "r256"} <= set(RANKS)
    assert {"1e-5", "1e-4", "2e-4", "1e-3"} <= set(RATES)
    for rank in RANKS:
        assert f"r{value_in('rank', rank)}" == rank
    for rate in RATES:
        assert float(value_in("lr", rate)) == float(rate)
    assert load(f"rank={RANKS[0]}", f"lr={RATES[0]}") == load(
        f"lora.r={RANKS[0][1:]}", f"trainer.learning_rate={RATES[0]}"
    )


def test_a_run_is_the_same_by_group_and_by_key() -> None:
    by_group, by_key = load("rank=r16", "lr=2e-4"), load("lora.r=16", "trainer.learning_rate=2e-4")
    assert by_group == by_key
    assert config.run_id(by_group) == config.run_id(by_key) != config.run_id(load("rank=r8"))
    assert not {"rank", "lr"} & set(config.canonical(by_group))
    assert load("rank=r16", "lora.r=16") == load("lora.r=16")


@pytest.mark.parametrize("spelling", ["2e-4", "0.0002", "2e-04", "2.0e-4", "2E-4", "'2e-4'"])
def test_all_spellings_of_a_rate_choose_the_same_file(spelling: str) -> None:
    assert choices.quoted([f"lr={spelling}"]) == ["lr='2e-4'"]
    assert load(f"lr={spelling}").trainer.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rank=r16", "lora.r=8"], "the group rank sets lora.r=16, and lora.r=8 is set as well"),
        (["lr=2e-4", "trainer.learning_rate=1e-4"], "trainer.learning_rate=0.0001 is set as well"),
        (["rank=r16", "lora=none"], "lora.r"),
        (["rank=r16", "lora.match_params=86016"], "lora.r=16 and lora.match_params=86016"),
        (["lr=interval(1e-5,1e-3)"], "lr chooses files of conf/lr; list some of them, or search"),
        (["rank=range(1,4)"], "or search lora.r."),
    ],
)
def test_a_contradiction_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*words)
    assert sentence in str(caught.value)


def test_a_rate_without_a_file_names_the_files_and_the_key_for_any_value() -> None:
    with pytest.raises(ConfigError) as caught:
        composed("lr=0.00033")
    said = str(caught.value)
    assert said.startswith("lr=3.3e-4: there is no such config file; did you mean '3e-4'? Allowed:")
    assert said.endswith("5e-6; trainer.learning_rate=3.3e-4 sets any value.")


@pytest.mark.slow
def test_a_grid_over_groups_has_the_runs_and_names_of_the_grid_over_keys() -> None:
    by_group = plan("rank=r4,r16", "lr=1e-4,2e-04")
    assert by_group == plan("lora.r=4,16", "trainer.learning_rate=0.0001,0.0002")
    assert len(by_group) == 4


@pytest.mark.slow
def test_a_sweep_file_may_vary_both_and_contradictions_in_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(tmp_path))
    (tmp_path / "sweeps").mkdir()
    params = "hydra:\n  sweeper:\n    params:\n      lr: 1e-4,2e-4\n      rank: r16\n"
    file = tmp_path / "sweeps" / "mine.yaml"
    file.write_text(f"# @package _global_\n{params}")
    assert set(plan("sweeps=mine").values()) == set(
        plan("lora.r=16", "trainer.learning_rate=1e-4,2e-4").values()
    )
    file.write_text(f"# @package _global_\nlora:\n  r: 8\n{params}")
    with pytest.raises(ConfigError, match=r"2 of 2 runs are illegal:\n.*lora.r=8 is set as well"):
        plan("sweeps=mine")


@pytest.mark.parametrize(
    "words",
    [["lr=1e-4,2e-4"], ["lr=1e-4", "hydra.sweeper.rates=[1e-4,1e-3]"]],
)
def test_a_tuned_sweep_refuses_a_rate_by_group_as_by_key(words: list[str]) -> None:
    for each in (words, [word.replace("lr=", "trainer.learning_rate=") for word in words]):
        with pytest.raises(ConfigError) as caught:
            plan("hydra/sweeper=tuned", *each)
        assert f"{each[0]}: hydra/sweeper=tuned chooses the rates" in str(caught.value)


def test_a_tuned_sweep_whose_file_chooses_a_rate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(tmp_path))
    (tmp_path / "sweeps").mkdir()
    defaults = "defaults:\n  - override /hydra/sweeper: tuned\n  - override /lr: '2e-4'\n"
    (tmp_path / "sweeps" / "mine.yaml").write_text(f"# @package _global_\n{defaults}")
    with pytest.raises(ConfigError, match=r"chooses lr \(trainer.learning_rate=0.0002\)"):
        plan("sweeps=mine")


def test_a_search_goes_on_whichever_way_a_fixed_value_is_given() -> None:
    assert job_batch.flat(composed("rank=r16")) == job_batch.flat(composed("lora.r=16"))


def test_overrides_are_recorded_with_the_plain_keys() -> None:
    run: RunConfig = load("rank=r16", "lr=2e-4")
    words = ["rank=r16", "lr='2e-4'", "seed=1"]
    assert choices.plain(words, run) == ["lora.r=16", "trainer.learning_rate=0.0002", "seed=1"]
