"""The size of a sweep is the same wherever it is named; its kind is declared."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from conftest import ROOT, SMOKE
from experiments.errors import ConfigError
from experiments.sweeps import plan, status
from experiments.sweeps.hydra import dry_run

CONF = ROOT / "conf"


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))


def start(words: list[str]) -> None:
    """Run the sweep of a command line in this process, with jobs that only return a value."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", words, RunMode.MULTIRUN, from_shell=False)
        HydraConfig.instance().set_config(master)
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=HydraContext(loader, Callbacks()),
            task_function=_value,
            config=master,
        )
        sweeper.sweep(arguments=list(master.hydra.overrides.task))


def _value(cfg: DictConfig) -> float:
    return float(cfg.seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "kind", "size"),
    [
        (["lora.r=4,8", "seed=0,1,2"], "grid", 6),
        (["lora.r=choice(1,2,4)"], "grid", 3),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.seeds_per_trial=2",
             "lora.r=choice(4,8)"],
            "search",
            4,
        ),
        (
            ["hydra/sweeper=tuned", "hydra.sweeper.seeds=[0,43]", "hydra.sweeper.repeats=1",
             "lora=all_linear,qv"],
            "tuned",
            22,
        ),
    ],
    ids=["grid", "choices", "search", "tuned"],
)  # fmt: skip
def test_plan_claims_the_sweeper_and_status_agree(
    tmp_path: Path, words: list[str], kind: str, size: int
) -> None:
    line = [*words, *SMOKE, f"hydra.sweep.dir={tmp_path}", "hydra.job.chdir=false"]
    listed, counted = dry_run.read(line, CONF), dry_run.count(line, CONF)
    assert (listed.kind, listed.total) == (counted.kind.value, counted.runs) == (kind, size)
    start(line)
    written = plan.read(tmp_path)
    assert written is not None and written.total == size
    assert sum(status.read(tmp_path).counts.values()) == size


@pytest.mark.slow
def test_cells_that_describe_one_run_twice_count_once() -> None:
    assert dry_run.read(["lora.r=4,8,4", *SMOKE], CONF).total == 2
    arms = ["hydra/sweeper=tuned", "hydra.sweeper.arms=[['lora=qv'],['lora=qv'],['lora=none']]"]
    assert dry_run.read([*arms, *SMOKE], CONF).total == 2 * 19


def test_cells_of_a_search_that_cannot_be_run_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["hydra/sweeper=optuna", "lora=choice(all_linear,none)", "lora.r=choice(4,8)"]
    assert dry_run.read([*words, *SMOKE], CONF).total == 2
    assert "left out: lora=none lora.r=4: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra.sweeper.kind=gird"], "hydra.sweeper.kind: Invalid value 'gird', expected one of "
         "[grid, search, tuned]."),
        (["hydra/sweeper=basic", "seed=0,1"], "hydra.sweeper._target_=hydra._internal.core_plugins"
         ".basic_sweeper.BasicSweeper declares no hydra.sweeper.kind: choose one of hydra/sweeper="
         "checked, optuna, tuned."),
        (["hydra.sweeper.kind=tuned", "seed=0,1"], "hydra.sweeper.kind=tuned: hydra/sweeper="
         "checked runs a sweep of kind grid; choose hydra/sweeper=tuned and leave "
         "hydra.sweeper.kind out."),
    ],
)  # fmt: skip
def test_a_wrong_kind_is_refused_in_a_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dry_run.count(words, CONF)
    assert str(caught.value) == sentence
