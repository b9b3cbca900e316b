"""A model is found, or one sentence says at once why not."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import load
from experiments import models
from experiments.errors import ConfigError


def refused(*overrides: str) -> str:
    run = load(*overrides)
    with pytest.raises(ConfigError) as caught:
        models.load(run, models.choose_precision(run))
    return str(caught.value)


def test_a_missing_folder_is_no_repo_id(tmp_path: Path) -> None:
    text = refused("model=local", f"model.path={tmp_path}/absent")
    assert f"model.path={tmp_path}/absent: there is no such folder" in text
    assert "repo" not in text.lower()


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    assert "has no config.json" in refused("model=local", f"model.path={tmp_path}")


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    shutil.copy(models.BASES / "tiny" / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    assert "contains no *.safetensors" in refused("model=local", f"model.path={tmp_path}")


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    shutil.copytree(models.BASES / "tiny", tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    assert "cannot be loaded" in refused("model=local", f"model.path={tmp_path}/model")


def test_an_unknown_embedded_base_lists_the_shipped_ones() -> None:
    assert "did you mean 'tiny'?" in refused("model.embedded=tinny")


def test_no_network_and_no_cache_is_answered_without_retries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    # A port on this machine where nothing listens: refused at once, like a missing network.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    text = refused("model=qwen3_0_6b")
    assert "model.hub_id=Qwen/Qwen3-0.6B (revision main) is not in the local cache" in text
    assert "model=tiny" in text


def test_a_model_in_the_hubs_cache_layout_is_loaded_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--Qwen--Qwen3-0.6B"
    shutil.copytree(models.BASES / "tiny", repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    run = load("model=qwen3_0_6b")
    base = models.load(run, models.choose_precision(run))
    assert base.commit == commit
    assert base.parameters < 5_000_000


def test_a_model_that_needs_remote_code_is_refused_by_default(tmp_path: Path) -> None:
    shutil.copytree(models.BASES / "tiny", tmp_path / "model")
    tree = json.loads((tmp_path / "model" / "config.json").read_text())
    tree |= {"model_type": "custom", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(tree))
    (tmp_path / "model" / "evil.py").write_text("raise SystemExit('remote code ran')")
    assert "cannot be loaded" in refused("model=local", f"model.path={tmp_path}/model")


def test_the_weights_hash_changes_with_one_weight(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    run = load()
    before = models.load(run, models.choose_precision(run)).sha256
    shutil.copytree(models.BASES / "tiny", tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += torch.tensor(1.0, dtype=torch.float16)
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    run = load("model=local", f"model.path={tmp_path}/model")
    assert models.load(run, models.choose_precision(run)).sha256 != before


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="fp16 on a CPU"):
        models.choose_precision(load("hardware=cpu", "trainer.precision=fp16"))


def test_every_precision_has_a_reason() -> None:
    assert models.choose_precision(load("hardware=cpu")).reason
    assert models.choose_precision(load("hardware=cpu", "trainer.precision=bf16")).name == "bf16"
