"""A job is composed once, exactly as Hydra composes it, and its checked run is passed on."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from conftest import ROOT, composed, load
from experiments import config
from experiments.errors import ConfigError
from experiments.sweeps import checked_run
from experiments.sweeps.hydra.composing import Composer
from experiments.sweeps.launching.sweep_job import SweepJob

MASTER = ["hydra.sweep.dir=out", "hydra/sweeper=optuna"]


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ConfigLoader, DictConfig]]:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        yield loader, loader.load_configuration("config", MASTER, RunMode.MULTIRUN)


def plain(cfg: DictConfig) -> object:
    return OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)


@pytest.mark.parametrize(
    "overrides",
    [
        ["lora.r=4", "seed=1"],
        ["lora=qv", "lora.r=4", "seed=1", "hydra.sweep.subdir=3_rate0.1", "hydra.sweeper.trial=3"],
        ["seed=1", "sweeps=decisions/rank", "lora.label='a b'", "data.train_rows=null"],
        ["+lora.extra.bias=all", "lora.r=4", "lora.target_modules=[q_proj,v_proj]"],
        ["lora.r=4", "lora={r:8}"],
        ["lora={r:8}", "lora.r=4"],
        ["trainer.max_grad_norm=1e9", "hydra.job.name=other", "hydra/launcher=joblib"],
    ],
    ids=" ".join,
)
def test_a_job_is_composed_as_by_hydra(
    hydra: tuple[ConfigLoader, DictConfig], overrides: list[str]
) -> None:
    loader, master = hydra
    composer = Composer(loader, master)
    wanted = loader.load_sweep_config(master, overrides)
    assert plain(composer.compose(overrides)) == plain(wanted)
    assert plain(composer.compose(overrides)) == plain(wanted), "a copy has changed the original"


def test_a_variable_named_on_the_command_line_is_not_written_into_a_jobs_config(
    monkeypatch: pytest.MonkeyPatch, hydra: tuple[ConfigLoader, DictConfig]
) -> None:
    monkeypatch.setenv("STUDY_URL", "postgresql://me:secret@host/studies")
    named = ["hydra.sweeper.storage=${oc.env:STUDY_URL}", "model.path=${oc.env:STUDY_URL}"]
    loader, _ = hydra
    master = loader.load_configuration("config", [*MASTER, *named], RunMode.MULTIRUN)
    job = Composer(loader, master).compose(["model.path='${oc.env:STUDY_URL}'", "lora.r=4"])
    assert job.model.path == "postgresql://me:secret@host/studies"
    text = OmegaConf.to_yaml(job)
    assert "secret" not in text
    assert text.count("${oc.env:STUDY_URL}") >= 3


def test_jobs_that_choose_the_same_files_are_composed_once(
    hydra: tuple[ConfigLoader, DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, master = hydra
    calls = []
    original = loader.load_sweep_config

    def counted(master: DictConfig, overrides: list[str]) -> DictConfig:
        calls.append(overrides)
        return original(master, overrides)

    monkeypatch.setattr(loader, "load_sweep_config", counted)
    composer = Composer(loader, master)
    for r in (1, 2, 4):
        for seed in (0, 1):
            assert composer.compose(["lora=qv", f"lora.r={r}", f"seed={seed}"]).lora.r == r
    assert calls == [["lora=qv"]]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lora.rr=4", "lora.rr: `lora` has no key 'rr'"),
        ("seed=many", "seed: Value 'many'"),
        ("lora=quite", "lora=quite: there is no such config file"),
    ],
)
def test_what_cannot_be_composed_is_named_as_in_a_single_run(
    hydra: tuple[ConfigLoader, DictConfig], override: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Composer(*hydra).compose(["lora.r=4", override])
    assert str(caught.value).startswith(sentence)


def test_a_checked_run_is_not_loaded_again_and_crosses_to_other_processes() -> None:
    run = load("lora.r=4")
    job: SweepJob = pickle.loads(pickle.dumps(SweepJob(0, ("lora.r=4",), run=run)))
    assert job.run == run
    invalid = OmegaConf.create({"no_such_key": 1})
    with checked_run.passed_to_job(job.run):
        assert checked_run.load(invalid) is job.run
    with pytest.raises(ConfigError):
        checked_run.load(invalid)
    with checked_run.passed_to_job(None):
        assert config.run_id(checked_run.load(composed("lora.r=4"))) == config.run_id(run)


def test_a_sweep_is_found_from_another_folder_and_a_common_part_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.sweeps.hydra import dry_run

    here = dry_run.count(["sweeps=lora_rank"], ROOT / "conf")
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert dry_run.count(["sweeps=lora_rank"], ROOT / "conf") == here
    with pytest.raises(ConfigError, match="common part of the sweeps in decisions and varies"):
        dry_run.count(["sweeps=decisions/_base"], ROOT / "conf")
