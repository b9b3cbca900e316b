"""The wheel carries what the checkout has, and works where there is no checkout."""

import importlib.util
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT, SMOKE, environment
from experiments import records

SHIPPED = ("conf", "sweeps", "claims")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tree, in which the build leaves its folders."""
    pytest.importorskip("setuptools", minversion="77")
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", *SHIPPED):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tree, check=True, capture_output=True)
    [file] = out.glob("*.whl")
    return file


def test_the_wheel_carries_code_data_configs_sweeps_and_claims(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [entry] = [name for name in names if name.endswith("entry_points.txt")]
        scripts = archive.read(entry).decode()
    assert "lora-experiments = experiments.cli.main:main" in scripts
    source = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    built = ("__pycache__", ".egg-info")
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in source
        if not any(text in str(path) for text in built)
    }
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*.yaml"):
            expected.add(f"experiments/shipped/{path.relative_to(ROOT).as_posix()}")
    pins = ROOT / "conf" / "servers" / "environments"
    for path in (*pins.rglob("*.txt"), *pins.rglob("*.json")):
        expected.add(f"experiments/shipped/{path.relative_to(ROOT).as_posix()}")
    expected.add("experiments/shipped/claims/design.json")
    assert expected - names == set()
    packages = ("experiments/shipped/__init__.py", "experiments/shipped/conf/__init__.py")
    left = names - expected - {*packages}
    assert {name for name in left if ".dist-info/" not in name} == set()


@pytest.mark.slow
def test_the_installed_program_works_in_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    site = _install(wheel, tmp_path / "venv")
    here = tmp_path / "work"
    here.mkdir()
    script = str(tmp_path / "venv" / "bin" / "lora-experiments")
    python = str(tmp_path / "venv" / "bin" / "python")

    def run(*command: str) -> str:
        env = environment(EXPERIMENTS_ROOT="")
        env.pop("PYTHONPATH", None)
        done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True)  # noqa: PLW1510
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import experiments; print(experiments.__file__)"
    assert run(python, "-c", where).strip() == str(site / "experiments" / "__init__.py")
    assert "train one run" in run(script, "--help")
    assert "rank: r1, " in run(script, "train", "--help")
    run(script, "train", *SMOKE, "rank=r4", "hydra.run.dir=outputs/one")
    module = (python, "-m", "experiments", "train")
    run(*module, *SMOKE, "lora.r=4", "hydra.run.dir=outputs/two")
    one, two = (records.read(here / "outputs" / name / "run.json") for name in ("one", "two"))
    assert (one.run_id, one.status, one.scores) == (two.run_id, "finished", two.scores)
    assert one.provenance["command"].startswith(
        "lora-experiments train model=tiny_64 trainer=smoke"
    )
    assert two.provenance["command"].startswith(
        "python -m experiments train model=tiny_64 trainer=smoke"
    )
    assert one.provenance["git_commit"] is None
    assert "GiB" in run(script, "plan", "sweeps=lora_without_regret/full_and_ranks")
    assert "tokens" in run(script, "data", "--show", "1", "data.train_rows=27")
    assert "wrote" in run(script, "report", "outputs/one")
    assert "C1" in run(script, "claims", "lora_equals_full")
    small = ("sweeps=lora_rank", "lora.r=1,2", "seed=0")
    run(script, "train", "-m", *small, *SMOKE)
    assert len(list((here / "outputs" / "lora_rank").glob("*/run.json"))) == 2
    code = (
        "from hydra import compose, initialize_config_module\nimport experiments\n"
        "with initialize_config_module('experiments.shipped.conf', version_base='1.3'):\n"
        "    print(experiments.config.load(compose('config', ['rank=r8'])).lora.r)\n"
    )
    assert run(python, "-c", code).strip() == "8"


def _install(wheel: Path, folder: Path) -> Path:
    """Install the wheel alone into a new environment that finds its dependencies in this one."""
    venv.create(folder)
    [site] = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    found = importlib.util.find_spec("hydra")
    assert found is not None and found.origin is not None
    (site / "dependencies.pth").write_text(f"{Path(found.origin).parents[1]}\n")
    return site
