"""Every sweep file composes, names what it varies, and leaves the mode to -m."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from conftest import ROOT

FILES = sorted((ROOT / "sweeps").glob("**/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_sweep_file_composes_and_says_what_it_varies(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    name = file.relative_to(ROOT / "sweeps").with_suffix("").as_posix()
    assert name not in ("reports", "single", "trackio")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=[f"sweeps={name}"], return_hydra_config=True)
    assert cfg.hydra.sweeper.params or cfg.hydra.sweeper.arms
    assert cfg.hydra.sweeper._target_.startswith("hydra_plugins.experiments_sweepers.")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n")  # below another comment Hydra ignores it
    assert "mode" not in yaml.safe_load(text).get("hydra", {})
