"""The plugin is found, is the default, and names sweeps by what they hold."""

from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from conftest import ROOT


def test_the_plugin_is_discovered() -> None:
    assert "CheckedSweeper" in {c.__name__ for c in Plugins.instance().discover(Sweeper)}


def test_the_checked_sweeper_is_the_default() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
    assert cfg.hydra.sweeper._target_ == "hydra_plugins.experiments_sweepers.CheckedSweeper"


def test_the_same_line_in_any_order_has_the_same_folder() -> None:
    from hydra_plugins.experiments_sweepers import sweep_name

    assert sweep_name(["a=1,2", "b=3"]) == sweep_name(["b=3", "a=1,2"])
    assert sweep_name(["a=1,2"]) != sweep_name(["a=1,3"])
