"""What a sweep was when it started stays readable, whatever happens to its files meanwhile."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from conftest import ROOT, load
from experiments import config
from experiments.config import renamed_keys
from experiments.errors import RecordError
from experiments.records import provenance
from experiments.sweeps import snapshot

OVERRIDES = ("lora.r=4", "seed=1")


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(OVERRIDES), return_hydra_config=True)


def test_a_frozen_job_is_read_back_whole_and_is_the_same_run(
    tmp_path: Path, composed: DictConfig
) -> None:
    snapshot.write(tmp_path, OVERRIDES, composed)
    kept = snapshot.read(tmp_path, OVERRIDES)
    assert kept is not None
    assert OmegaConf.to_container(kept, enum_to_str=True) == OmegaConf.to_container(
        composed, enum_to_str=True
    )
    HydraConfig.instance().set_config(kept)  # launchers hand it to Hydra, which checks its type
    for tree in (kept, composed):
        with open_dict(tree):
            del tree["hydra"]
    assert config.run_id(config.load(kept)) == config.run_id(config.load(composed))


def test_the_order_of_overrides_does_not_matter_and_others_find_nothing(
    tmp_path: Path, composed: DictConfig
) -> None:
    snapshot.write(tmp_path, OVERRIDES, composed)
    assert snapshot.read(tmp_path, OVERRIDES[::-1]) is not None
    assert snapshot.read(tmp_path, ["lora.r=8"]) is None
    assert snapshot.read(tmp_path / "elsewhere", OVERRIDES) is None


def test_code_that_changes_after_the_start_is_named(tmp_path: Path) -> None:
    assert snapshot.changed_code(tmp_path) == []  # nothing was kept
    snapshot.write_code(tmp_path)
    assert snapshot.changed_code(tmp_path) == []
    file = tmp_path / snapshot.FOLDER / "code.json"
    training = provenance.code_identity()["training_code"]
    file.write_text(file.read_text().replace(training, "0" * 16))
    assert snapshot.changed_code(tmp_path) == ["training_code"]


def test_a_folder_that_cannot_be_written_is_one_sentence(composed: DictConfig) -> None:
    with pytest.raises(RecordError, match=r"/dev/null cannot be written \(.*\): make room or choo"):
        snapshot.write(Path("/dev/null"), OVERRIDES, composed)


def test_a_file_that_is_not_whole_is_named(tmp_path: Path, composed: DictConfig) -> None:
    snapshot.write(tmp_path, OVERRIDES, composed)
    [file] = (tmp_path / snapshot.FOLDER).glob("[0-9a-f]*.json")
    file.write_text("{")
    with pytest.raises(RecordError, match="is incomplete"):
        snapshot.read(tmp_path, OVERRIDES)


def test_a_snapshot_with_former_names_of_keys_is_read_with_the_present_ones(
    tmp_path: Path, composed: DictConfig
) -> None:
    snapshot.write(tmp_path, OVERRIDES, composed)
    [file] = (tmp_path / snapshot.FOLDER).glob("[0-9a-f]*.json")
    text = file.read_text()
    for former, key in renamed_keys.RENAMED.items():
        text = text.replace(f'"{key.partition(".")[2]}":', f'"{former.partition(".")[2]}":')
    file.write_text(text.replace('"seed=1"', '"trainer.epochs=1"'))
    assert "warmup_share" in text and "warmup_steps" not in text
    kept = snapshot.read(tmp_path, OVERRIDES)
    [listed] = snapshot.read_all(tmp_path)
    for found in (kept, listed):
        assert found is not None
        bare = OmegaConf.masked_copy(found, [str(key) for key in found if key != "hydra"])
        assert config.run_id(config.load(bare)) == config.run_id(load(*OVERRIDES))
        assert "trainer.num_train_epochs=1" in found.hydra.overrides.task
