"""A machine's facts fill what nobody set, each with its reason, and what is absent is said."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from conftest import ROOT, composed
from experiments import config, models
from experiments.config import HardwareConfig, RunConfig
from experiments.errors import ConfigError
from experiments.runs import finished

CARDS = sorted(path.stem for path in (ROOT / "conf" / "hardware").glob("*.yaml"))
CHOICES = ("precision", "attention", "gradient_checkpointing", "optimizer", "micro_batch_size")
T4 = ("Tesla T4", (7, 5), 14.75)
A100 = ("NVIDIA A100-SXM4-80GB", (8, 0), 79.2)
Card = tuple[str, tuple[int, int], float]
_composed = functools.cache(composed)


def load(*overrides: str) -> RunConfig:
    """Load a run; a file of a group is composed once, since composing takes most of the time."""
    files = [o for o in overrides if o.startswith(("hardware=", "model="))]
    keys = [o.lstrip("+") for o in overrides if o not in files]
    cfg = OmegaConf.create(OmegaConf.to_container(_composed(*files)))
    cfg.merge_with_dotlist(keys)
    assert isinstance(cfg, DictConfig)
    return config.load(cfg)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[Card], None]:
    """Let torch report a card, as it would on the machine that has it."""
    import torch

    def insert(described: Card) -> None:
        name, capability, memory_gib = described
        facts = SimpleNamespace(total_memory=int(memory_gib * 2**30))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # it emulates
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: facts)

    return insert


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide a card that this machine may have."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def chosen(*overrides: str) -> models.Precision:
    return models.choose_precision(load(*overrides))


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        chosen(*overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", CARDS)
def test_what_a_file_says_is_what_its_facts_ask_for(name: str) -> None:
    hardware = load(f"hardware={name}").hardware
    facts = HardwareConfig(
        hardware.label,
        hardware.device,
        compute_capability=hardware.compute_capability,
        memory_gib=hardware.memory_gib,
    )
    for key in CHOICES:
        assert hardware.choice(key) == facts.choice(key), key


@pytest.mark.parametrize(
    ("name", "precision", "checkpointing", "rows"),
    [
        ("t4", "fp16", True, 4),
        ("l4", "bf16", True, 4),
        ("a100", "bf16", True, 8),
        ("h200", "bf16", False, 16),
        ("cpu", "fp32", False, 4),
    ],
)
def test_a_described_card_fills_what_neither_user_nor_recipe_set(
    name: str, precision: str, checkpointing: bool, rows: int
) -> None:
    bare = ("model.recipe.micro_batch_size=null", "trainer.batch_size=16")
    run = load(f"hardware={name}", *bare)
    trainer = run.trainer
    assert (trainer.precision, trainer.gradient_checkpointing) == (precision, checkpointing)
    assert (trainer.micro_batch_size, trainer.batch_size) == (rows, 16)
    assert (trainer.attention, trainer.optimizer) == ("sdpa", "adamw")
    for key in ("precision", "attention", "gradient_checkpointing", "optimizer"):
        origin = run.resolved_from[f"trainer.{key}"]
        assert origin.startswith(f"hardware={name}: ") and len(origin) > 25, origin


def test_a_recipes_micro_batch_counts_on_every_card_and_the_users_before_it() -> None:
    recipe = load("hardware=h200", "model=llama3_1_8b_4bit")
    assert recipe.trainer.micro_batch_size == 2
    own = load("hardware=h200", "model=llama3_1_8b_4bit", "trainer.micro_batch_size=8")
    assert own.trainer.micro_batch_size == 8


def test_a_t4_gets_fp16_whatever_torch_says_of_bfloat16(card: Callable[[Card], None]) -> None:
    card(T4)
    for overrides in ([], ["hardware=t4"]):
        found = chosen(*overrides)
        assert (found.name, found.device, found.device_name) == ("fp16", "cuda", "Tesla T4")
        assert "7.5 is below 8.0" in found.reason
        assert found.gradient_checkpointing
        assert (found.compute_capability, found.memory_gib) == (7.5, 14.8)
    assert refused("trainer.precision=bf16") == (
        "trainer.precision=bf16 on Tesla T4: bfloat16 needs compute capability 8.0 or newer, and "
        "this GPU has 7.5 (older GPUs emulate it slowly); use fp16."
    )


def test_auto_reads_a_large_card_and_keeps_its_activations(card: Callable[[Card], None]) -> None:
    card(A100)
    found = chosen()
    assert (found.name, found.gradient_checkpointing) == ("bf16", False)
    assert found.reasons["gradient_checkpointing"] == "activations are stored with 79.2 GiB"
    assert chosen("trainer.gradient_checkpointing=true").gradient_checkpointing
    assert chosen("hardware=cpu").device == "cpu"


def test_a_card_that_is_described_and_not_there_trains_nothing(
    no_card: None, card: Callable[[Card], None]
) -> None:
    absent = refused("hardware=t4")
    assert absent == (
        "hardware=t4 describes a GPU of compute capability 7.5 and 14.7 GiB, but this machine has "
        "no CUDA device: train with hardware=auto, which uses the device of this machine, or plan "
        "for the other with `python -m experiments plan hardware=t4`."
    )
    card(A100)
    assert "this machine has NVIDIA A100-SXM4-80GB (8.0, 79.2 GiB)" in refused("hardware=t4")
    assert "has NVIDIA A100-SXM4-80GB (8.0, 79.2 GiB)" in refused("hardware=a100")
    assert chosen("hardware=a100", "hardware.memory_gib=79.2").name == "bf16"


def test_a_run_of_an_absent_card_may_be_asked_in_what_this_machine_computes(
    no_card: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, precision = finished._on_this_device(load("hardware=t4"))
    assert (precision.name, precision.device) == ("fp32", "cpu")
    assert run.hardware.label == "auto"
    assert "loaded in fp32 on cpu, because: hardware=t4 describes" in capsys.readouterr().out
    own = load("hardware=cpu", "trainer.precision=bf16")
    assert finished._on_this_device(own)[1].name == "bf16"


def test_a_gpu_of_any_kind_that_is_not_there_is_one_sentence(no_card: None) -> None:
    assert refused("hardware.device=cuda") == (
        "hardware.device=cuda, but this machine has no CUDA device: use hardware=cpu or auto."
    )


def test_a_described_card_that_is_not_there_may_still_be_resolved_for_a_plan() -> None:
    assert load("hardware=t4", "model=llama3_1_8b_4bit").trainer.precision == "fp16"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["hardware=t4", "trainer.precision=bf16"],
            "trainer.precision=bf16 with hardware=t4: bfloat16 needs compute "
            "capability 8.0 or newer, and this device has 7.5 (older GPUs emulate it slowly); use "
            "fp16 or remove the setting.",
        ),
        (
            ["hardware=t4", "hardware.precision=bf16"],
            "hardware.precision=bf16 with hardware=t4: bfloat16 needs compute "
            "capability 8.0 or newer, and this device has 7.5 (older GPUs emulate it slowly); use "
            "fp16 or remove the setting.",
        ),
        (
            ["hardware=cpu", "trainer.precision=fp16"],
            "trainer.precision=fp16 on a CPU: fp16 needs a GPU's gradient scaler; use fp32 or "
            "bf16.",
        ),
        (
            ["+trainer.extra.bf16=true"],
            "trainer.extra.bf16=True: set trainer.precision=bf16 instead.",
        ),
        (
            ["+trainer.extra.optim=sgd"],
            "trainer.extra.optim=sgd: set trainer.optimizer instead.",
        ),
        (
            ["hardware=t4", "trainer.attention=flash_attention_2"],
            "trainer.attention=flash_attention_2 with hardware=t4: its kernels need compute "
            "capability 8.0 or newer, and this device has 7.5; use sdpa.",
        ),
        (
            ["hardware=a100", "trainer.precision=fp32", "trainer.attention=flash_attention_2"],
            "trainer.attention=flash_attention_2 with hardware=a100 in fp32: its kernels need a "
            "GPU and bf16 or fp16; use sdpa.",
        ),
        (
            ["trainer.attention=flash"],
            "trainer.attention=flash: Allowed: sdpa, eager, flash_attention_2.",
        ),
        (
            ["hardware.memory_gib=0", "hardware.precision=half"],
            "hardware.precision=half: Allowed: auto, fp32, bf16, fp16; hardware.memory_gib=0.0: "
            "must be above 0.",
        ),
    ],
)
def test_each_wrong_choice_has_its_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("key", ["+trainer.bf16", "+model.load_in_4bit"])
def test_a_key_of_other_programs_is_answered_with_the_one_here(key: str) -> None:
    wanted = "trainer.precision=bf16" if "bf16" in key else "model.quantization=nf4"
    with pytest.raises(ConfigError, match=f"has no key .*; set {wanted} instead"):
        load(f"{key}=true")


@pytest.mark.parametrize(
    ("library", "override"),
    [
        ("bitsandbytes", "model.quantization=nf4"),
        ("bitsandbytes", "trainer.optimizer=adamw_8bit"),
        ("flash_attn", "trainer.attention=flash_attention_2"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, library: str, override: str
) -> None:
    there = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == library else there(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    text = refused(override)
    assert f"{override} needs the library {library}, which is not installed" in text


def test_flash_attention_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    assert "its kernels need a GPU and bf16 or fp16" in refused(
        "trainer.attention=flash_attention_2"
    )


def test_weights_that_are_stored_in_4_bits_are_refused(tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(models.BASES / "tiny", tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    tree = json.loads(file.read_text()) | {"quantization_config": {"quant_method": "bitsandbytes"}}
    file.write_text(json.dumps(tree))
    run = load("model=local", f"model.path={tmp_path}/model")
    with pytest.raises(ConfigError, match=r"already quantised \(bitsandbytes\): use the model's"):
        models.load(run, models.choose_precision(run))
