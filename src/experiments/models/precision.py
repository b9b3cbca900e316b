"""Choose the device, precision and attention kernels of a run, with the reason for each.

The hardware that a config describes must be present: a run never trains on another GPU than the one
it was planned for.
"""

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from experiments.config import HardwareConfig, RunConfig
from experiments.config.hardware_and_tracker import NATIVE_BF16
from experiments.errors import ConfigError
from experiments.runtime import transformers_private

# GPUs of one kind differ in the memory that the driver reserves.
_MEMORY_TOLERANCE = 0.1
_GIB = 2**30


@dataclass(frozen=True)
class Precision:
    """The precision, device and kernels that a run computes with, and why."""

    name: str
    """`fp32`, `bf16` or `fp16`."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    reason: str
    attention: str = "sdpa"
    """`sdpa`, `eager` or `flash_attention_2`."""
    gradient_checkpointing: bool = False
    quantization: str | None = None
    """`nf4`, or None for a base model in the precision above."""
    compute_capability: float | None = None
    memory_gib: float | None = None
    """Total memory of the GPU."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Reasons for attention, gradient checkpointing and quantization."""

    @property
    def computes_in(self) -> dict[str, Any]:
        """The settings that can change a run's results."""
        return {
            "precision": self.name,
            "device_class": self.device,
            "attention": self.attention,
            "quantization": self.quantization,
        }

    def facts(self) -> dict[str, Any]:
        """Return all fields for the record."""
        return dataclasses.asdict(self)


def choose_precision(run: RunConfig) -> Precision:
    """Resolve device and precision: the ones requested, else what the device supports natively.

    bfloat16 is chosen by compute capability, not by `torch.cuda.is_bf16_supported()`, which
    includes slow emulation on GPUs older than 8.0 (T4: 7.5).

    Raises:
        ConfigError: a library or the described device is missing, or the device does not support
            the requested precision.
    """
    _refuse_missing_libraries(run)
    hardware, device_name = _find_device(run.hardware)
    name, reason = _choose_name(run, hardware, device_name)
    attention = run.trainer.attention or "sdpa"
    if attention == "flash_attention_2" and (hardware.device == "cpu" or name == "fp32"):
        raise ConfigError(
            f"trainer.attention=flash_attention_2 in {name} on {device_name}: its kernels need a "
            "GPU and bf16 or fp16; use sdpa."
        )
    checkpointing, origin = run.trainer.gradient_checkpointing, "trainer.gradient_checkpointing"
    if checkpointing is None:
        checkpointing, origin = hardware.choice("gradient_checkpointing")
    origins = run.resolved_from
    reasons = {
        "attention": origins["trainer.attention"],
        "gradient_checkpointing": origins.get(origin, origin),
    }
    if run.model.quantization is not None:
        reasons["quantization"] = (
            f"model.quantization: 4-bit NormalFloat in blocks of 64 with quantised scales, "
            f"compute dtype {name}"
        )
    return Precision(
        name=name,
        device=hardware.device,
        device_name=device_name,
        reason=reason,
        attention=attention,
        gradient_checkpointing=bool(checkpointing),
        quantization=run.model.quantization,
        compute_capability=hardware.compute_capability,
        memory_gib=hardware.memory_gib,
        reasons=reasons,
    )


def with_kernels_of(precision: Precision, run: RunConfig, model_config: Any) -> Precision:
    """Return the precision with attention kernels that the model supports.

    `eager` replaces a default that the model does not support; an attention that the user requested
    is refused instead.

    Args:
        precision: as chosen from the machine and the run's config.
        run: the run.
        model_config: the model's transformers config, or None if it cannot be read.

    Raises:
        ConfigError: the model does not support `trainer.attention`.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    model_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model_config), None)
    attention = precision.attention
    if model_class is None or transformers_private.supports_attention(model_class, attention):
        return precision
    if not run.resolved_from["trainer.attention"].startswith("hardware="):
        raise ConfigError(
            f"trainer.attention={attention}: transformers has no such kernels for models of type "
            f"'{model_config.model_type}'; use trainer.attention=eager, or remove the setting."
        )
    reason = (
        f"transformers has no {attention} kernels for models of type '{model_config.model_type}'"
    )
    reasons = precision.reasons | {"attention": reason}
    return dataclasses.replace(precision, attention="eager", reasons=reasons)


def _refuse_missing_libraries(run: RunConfig) -> None:
    """Report a missing library that the config needs before importing anything heavy."""
    requirements = [
        (run.model.quantization is not None, "bitsandbytes", "model.quantization=nf4",
         "model.quantization=null"),
        (run.trainer.optimizer == "adamw_8bit", "bitsandbytes", "trainer.optimizer=adamw_8bit",
         "trainer.optimizer=adamw"),
        (run.trainer.attention == "flash_attention_2", "flash_attn",
         "trainer.attention=flash_attention_2", "trainer.attention=sdpa"),
    ]  # fmt: skip
    for needed, library, key, alternative in requirements:
        if needed and importlib.util.find_spec(library) is None:
            raise ConfigError(
                f"{key} needs the library {library}, which is not installed: install it, or use "
                f"{alternative}."
            )


def _choose_name(run: RunConfig, hardware: HardwareConfig, device_name: str) -> tuple[str, str]:
    requested = str(run.trainer.precision)
    if hardware.device == "cpu":
        if requested == "fp16":
            raise ConfigError(
                "trainer.precision=fp16 on a CPU: fp16 needs a GPU's gradient scaler; use fp32 or "
                "bf16."
            )
    elif requested == "bf16" and (hardware.compute_capability or 0) < NATIVE_BF16:
        raise ConfigError(
            f"trainer.precision=bf16 on {device_name}: bfloat16 needs compute capability "
            f"{NATIVE_BF16} or newer, and this GPU has {hardware.compute_capability} (older GPUs "
            "emulate it slowly); use fp16."
        )
    if requested != "auto":
        return requested, run.resolved_from["trainer.precision"]
    name, reason = hardware.choice("precision")
    return str(name), reason if hardware.device == "cpu" else f"{device_name}: {reason}"


def _find_device(hardware: HardwareConfig) -> tuple[HardwareConfig, str]:
    """Return the properties and the name of the device.

    Raises:
        ConfigError: the described device is not the one present, or there is none.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if hardware.device == "cpu" or not (has_cuda or hardware.describes_a_gpu):
        return HardwareConfig("cpu", "cpu"), "cpu"
    if not has_cuda:
        raise ConfigError(_device_mismatch(hardware, "has no CUDA device"))
    name = torch.cuda.get_device_name()
    major, minor = torch.cuda.get_device_capability()
    memory = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / _GIB
    present = HardwareConfig(
        "auto", "cuda", compute_capability=major + minor / 10, memory_gib=round(memory, 1)
    )
    same_capability = hardware.compute_capability in (None, present.compute_capability)
    described_gib = hardware.memory_gib
    if not same_capability or (
        described_gib is not None and abs(memory / described_gib - 1) > _MEMORY_TOLERANCE
    ):
        raise ConfigError(
            _device_mismatch(hardware, f"has {name} ({major}.{minor}, {present.memory_gib} GiB)")
        )
    return present, name


def _device_mismatch(hardware: HardwareConfig, actual: str) -> str:
    facts = [
        f"compute capability {hardware.compute_capability}" if hardware.compute_capability else "",
        f"{hardware.memory_gib} GiB" if hardware.memory_gib else "",
    ]
    description = " and ".join(filter(None, facts))
    if not description:
        return f"hardware.device=cuda, but this machine {actual}: use hardware=cpu or auto."
    return (
        f"hardware={hardware.label} describes a GPU of {description}, but this machine {actual}: "
        "train with hardware=auto, which uses the device of this machine, or plan for the other "
        f"with `python -m experiments plan hardware={hardware.label}`."
    )
