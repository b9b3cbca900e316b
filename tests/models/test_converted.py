"""A GGUF file is converted once, exactly, and refused in one sentence if it cannot be."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import SMOKE, Cli, load
from experiments import models
from experiments.config import ModelConfig
from experiments.errors import ConfigError
from experiments.models import converted, weights
from experiments.models.converted import base_folders, gguf_conversion, gguf_header
from support import gguf_files

NOWHERE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "/nowhere"}


class Converted(NamedTuple):
    file: Path
    folder: Path
    cache: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converted]:
    """Return a GGUF file and the folder that it was converted to, in a cache of its own."""
    place = tmp_path_factory.mktemp("gguf")
    file = gguf_files.write(place / "tiny.Q8_0.gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        yield Converted(file, converted.folder_of(ModelConfig(path=str(file))), place / "cache")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "experiments" / "bases"


def kept(cache: Path) -> list[str]:
    """Return what a cache of bases contains besides locks."""
    return [path.name for path in cache.glob("*") if path.suffix != ".lock"]


def refused(spec: ModelConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        converted.folder_of(spec)
    return str(caught.value)


def directly(file: Path) -> Any:
    """Return the model as transformers reads it from the file."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )


def test_logits_are_those_of_transformers_reading_the_file(made: Converted) -> None:
    import torch

    run = load("model=gguf", f"model.path={made.file}")
    base = models.load(run, models.choose_precision(run))
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        expected = directly(made.file).eval()(input_ids=ids).logits
        assert torch.equal(base.model(input_ids=ids).logits, expected)


def test_tokens_are_those_of_the_file_and_digits_stand_alone(made: Converted) -> None:
    tokenizer = models.load_vocabulary(ModelConfig(path=str(made.file))).tokenizer
    ids = tokenizer("the  42<|im_end|>", add_special_tokens=False).input_ids
    names = gguf_files.tokens()
    assert [names[i] for i in ids] == ["the", "ĠĠ", "4", "2", "<|im_end|>"]
    assert tokenizer.decode(ids) == "the  42<|im_end|>"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")


def test_the_origin_is_recorded_beside_the_folder(made: Converted) -> None:
    origin = base_folders.origin(made.folder)
    assert origin["file"] == "tiny.Q8_0.gguf"
    assert origin["quantization"] == "Q8_0 15, F32 5"
    assert origin["licence"] == "apache-2.0"
    assert {"transformers", "gguf"} <= origin["converter"].keys()
    assert "model.safetensors" in origin["files"]
    assert not list(made.folder.glob("origin*"))


@pytest.mark.slow
def test_the_identity_depends_on_neither_the_cache_nor_the_path(
    made: Converted, own_cache: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "other" / "renamed.gguf"
    elsewhere.parent.mkdir()
    shutil.copy(made.file, elsewhere)
    folder = converted.folder_of(ModelConfig(path=str(elsewhere)))
    assert folder != made.folder
    assert folder.is_relative_to(own_cache)
    assert weights.identity(folder, None) == weights.identity(made.folder, None)


def test_a_second_use_converts_nothing(made: Converted, capsys: pytest.CaptureFixture[str]) -> None:
    written = (made.folder / "model.safetensors").stat().st_mtime_ns
    assert converted.folder_of(ModelConfig(path=str(made.file))) == made.folder
    assert (made.folder / "model.safetensors").stat().st_mtime_ns == written
    assert capsys.readouterr().out == ""


def test_other_files_are_refused_and_nothing_is_kept(own_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"pickle" * 100)
    text = refused(ModelConfig(path=str(file)))
    assert text.startswith(f"{file} is not a GGUF file (it does not begin with GGUF)")
    assert kept(own_cache) == []


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_truncated_file_is_refused(
    made: Converted, own_cache: Path, tmp_path: Path, share: float
) -> None:
    file = tmp_path / "model.gguf"
    content = made.file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    text = refused(ModelConfig(path=str(file)))
    assert f"{file} cannot be read as a GGUF file" in text
    assert "it may be incomplete" in text
    assert kept(own_cache) == []


def test_a_quantization_that_nothing_reads_is_refused(own_cache: Path, tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "model.gguf", odd_type=True)
    text = refused(ModelConfig(path=str(file)))
    assert "its tensor blk.1.ffn_up.weight is stored as I8, which cannot be dequantized" in text
    assert kept(own_cache) == []


def test_a_vocabulary_of_another_size_than_the_embedding_is_refused(
    own_cache: Path, tmp_path: Path
) -> None:
    file = gguf_files.write(tmp_path / "model.gguf", lost_tokens=2)
    text = refused(ModelConfig(path=str(file)))
    assert "its tokenizer has 262 tokens, but its embedding has 264 rows" in text
    assert kept(own_cache) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rule": "viking"}, "splits text by the rule 'viking' (tokenizer.ggml.pre)"),
        ({"without": "blk.1.ffn_up.weight"}, "lacks 1 of the model's tensors, such as model.layer"),
    ],
)
def test_what_transformers_does_not_read_is_refused(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    file = gguf_files.write(tmp_path / "model.gguf", **options)
    with pytest.raises(ConfigError) as caught:
        gguf_conversion.write(file, gguf_header.read(file), tmp_path / "out")
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_reason_of_the_process_that_converts_is_passed_on(
    own_cache: Path, tmp_path: Path
) -> None:
    file = gguf_files.write(tmp_path / "model.gguf", architecture="rwkv7")
    assert "cannot read the architecture 'rwkv7'" in refused(ModelConfig(path=str(file)))
    assert kept(own_cache) == []


def test_a_disk_without_room_is_refused_before_converting(
    made: Converted, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    text = refused(ModelConfig(path=str(made.file)))
    assert "the model in fp32 needs 0 MB of disk" in text
    assert "0 MB free" in text
    assert "XDG_CACHE_HOME" in text
    assert kept(own_cache) == []


def test_a_cache_that_cannot_be_written_is_named(
    made: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = refused(ModelConfig(path=str(made.file)))
    assert f"the cache folder {tmp_path}/cache/experiments/bases cannot be written" in text


def test_a_missing_file_is_named_before_anything_is_loaded(cli: Cli) -> None:
    done = cli("model=gguf", "model.path=absent.gguf")
    assert done.returncode == 1
    assert "model.path=absent.gguf: there is no such file (looked in" in done.stderr


def test_a_template_without_tools_is_refused_with_what_to_set(made: Converted, cli: Cli) -> None:
    done = cli(*SMOKE, "model=gguf", f"model.path={made.file}", XDG_CACHE_HOME=str(made.cache))
    assert done.returncode == 1
    assert "model.chat_template" in done.stderr.splitlines()[-1]


def test_a_run_trains_on_it_under_the_label_and_the_template_of_the_user(
    made: Converted, cli: Cli, tmp_path: Path
) -> None:
    own = ("model.label=mine", "model.chat_template=smollm2", "trainer.max_steps=2")
    arguments = (*SMOKE, "model=gguf", f"model.path={made.file}", *own, "hydra.run.dir=out")
    done = cli(*arguments, XDG_CACHE_HOME=str(made.cache))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["identity"]["base_sha256"] == weights.identity(made.folder, None)
    assert "mine" in done.stdout
