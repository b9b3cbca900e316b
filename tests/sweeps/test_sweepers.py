"""The plugin is found, is the default, and names sweeps by what they hold."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from conftest import ROOT
from experiments.sweeps import sweep_files


def test_the_plugin_is_discovered() -> None:
    assert "CheckedSweeper" in {c.__name__ for c in Plugins.instance().discover(Sweeper)}


def test_the_checked_sweeper_is_the_default() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
    assert cfg.hydra.sweeper._target_ == "hydra_plugins.experiments_sweepers.CheckedSweeper"


def test_the_search_file_brings_its_own_sweeper_and_pruner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", ["sweeps=search"], return_hydra_config=True)
    assert cfg.hydra.sweeper._target_ == "hydra_plugins.experiments_sweepers.OptunaSweeper"
    assert (cfg.hydra.sweeper.sampler.name, cfg.hydra.sweeper.pruner.name) == ("tpe", "asha")
    assert cfg.hydra.sweeper.pruner.reduction_factor == 3


def test_the_same_line_in_any_order_has_the_same_folder() -> None:
    sweep_name = sweep_files.sweep_name
    assert sweep_name(["a=1,2", "b=3"]) == sweep_name(["b=3", "a=1,2"])
    assert sweep_name(["a=1,2"]) != sweep_name(["a=1,3"])
