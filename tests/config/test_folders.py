"""Config files, sweeps and claims: the user's own first, then those of the project."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.utils import create_config_search_path

from conftest import ROOT, Cli
from experiments import config
from experiments.analysis.claims import claim_files
from experiments.config import folders
from experiments.errors import ConfigError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with a model, a LoRA variant, a sweep and a claim of its own."""
    monkeypatch.delenv("EXPERIMENTS_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("conf/model/mine.yaml", "label: mine\nembedded: tiny\n"),
        ("conf/lora/qv.yaml", "label: qv\ntarget_modules: [q_proj]\n"),
        ("sweeps/mine.yaml", "# @package _global_\nseed: 7\n"),
        ("claims/mine.yaml", "number: X1\nsentence: s\nsource: s\nnot_tested: why\n"),
        ("data/mixed.yaml", "label: unrelated\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_users_files_compose_beside_the_shipped_ones_and_before_them(own: Path) -> None:
    run = config.load(config.compose(["model=mine", "lora=qv", "data=mixed", "sweeps=mine"]))
    assert (run.model.label, run.lora.target_modules, run.seed) == ("mine", ["q_proj"], 7)
    assert run.data.label == "mixed"  # other folders of the working directory are no groups
    assert config.load(config.compose(["model=tiny", "lora=mlp"])).lora.label == "mlp"


def test_the_variable_names_another_folder(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "elsewhere").mkdir()
    monkeypatch.chdir(own / "elsewhere")
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(own))
    assert config.compose(["model=mine", "sweeps=mine"]).seed == 7
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(own / "absent"))
    with pytest.raises(ConfigError, match="absent: there is no such folder; correct or unset it"):
        config.compose([])


def test_claims_are_those_of_the_user_and_the_shipped_ones(own: Path) -> None:
    found = {claim.id for claim in claim_files.load(folders.all_of("claims"))}
    assert found == {"mine", *(path.stem for path in (ROOT / "claims").glob("*.yaml"))}
    (own / "conf" / "claims").mkdir()
    with pytest.raises(ConfigError, match=r"conf/claims was renamed to .*/claims: move"):
        folders.all_of("claims")


def test_a_folder_is_searched_once_if_it_is_the_users_and_the_shipped_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))
    assert folders.all_of("conf") == [ROOT / "conf"]
    path = create_config_search_path(str(ROOT / "conf")).get_path()
    assert [one.provider for one in path] == ["hydra", "main", "lora-experiments", "schema"]


def test_other_hydra_applications_are_left_alone(own: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    path = create_config_search_path(str(foreign)).get_path()
    assert [one.provider for one in path] == ["hydra", "main", "schema"]
    with initialize_config_dir(str(foreign), version_base="1.3"):
        pass


@pytest.mark.slow
def test_commands_read_another_folder_of_config_groups(own: Path, cli: Cli) -> None:
    (own / "more" / "model").mkdir(parents=True)
    (own / "more" / "model" / "third.yaml").write_text("label: third\nembedded: tiny\n")
    done = cli("plan", "-cd", "more", "model=third", module=True)
    assert done.returncode == 0, done.stderr
    assert "third all_linear" in done.stdout
    done = cli("data", "--config-dir", "absent", module=True)
    assert done.stderr == "error: --config-dir absent: there is no such folder.\n"
