"""Determine the device that a run is planned for; it need not be in this machine."""

import os
import shutil
from dataclasses import dataclass

from experiments.config import HardwareConfig, RunConfig

UTILISATION = 0.25
"""Share of peak that training reaches: 16 of a T4's 65 TFLOPS; assumed, not measured."""
CPU_UTILISATION = 0.5
"""The same on a CPU, of the speed of an fp32 product of large matrices."""
_GIB = 2**30


@dataclass(frozen=True)
class Device:
    """The device that a run is planned for."""

    name: str
    is_cpu: bool
    precision: str
    """`fp32`, `bf16` or `fp16`."""
    memory_bytes: float | None
    peak_flops: float | None
    """Operations per second; None if unknown."""
    memory_rate: float | None
    """Bytes per second that can be read from memory; None if unknown."""
    utilisation: float
    checkpointing: bool
    """Whether activations are recomputed, unless they fit; see `estimate.of`."""
    checkpointing_is_fixed: bool
    """Whether the user or the recipe decided that."""
    origin: str
    """Where the numbers come from."""


def of(run: RunConfig) -> Device:
    """Return the device of a run: the one in its config, else that of this machine."""
    hardware = run.hardware
    is_cpu = hardware.device == "cpu" or not (hardware.describes_a_gpu or has_gpu())
    capability, memory = hardware.compute_capability, hardware.memory_gib
    name, origin = hardware.label, f"hardware={hardware.label}"
    if is_cpu:
        name = "cpu"
        if memory is None:
            memory, origin = _ram_bytes() / _GIB, "this machine"
    elif capability is None or memory is None:
        name, capability, memory = _gpu_here(capability, memory)
        origin = "this machine"
    tflops = hardware.peak_tflops
    device_config = (
        HardwareConfig("cpu", "cpu")
        if is_cpu
        else HardwareConfig("gpu", "cuda", compute_capability=capability, memory_gib=memory)
    )
    return Device(
        name=name,
        is_cpu=is_cpu,
        precision=_precision(run, device_config),
        memory_bytes=None if memory is None else memory * _GIB,
        peak_flops=None if tflops is None else tflops * 1e12,
        memory_rate=None if hardware.memory_gbs is None else hardware.memory_gbs * 1e9,
        utilisation=run.plan.utilisation or (CPU_UTILISATION if is_cpu else UTILISATION),
        checkpointing=_checkpointing(run, device_config),
        checkpointing_is_fixed=_checkpointing_is_fixed(run),
        origin=origin,
    )


def has_gpu() -> bool:
    """Return whether a driver is installed; importing torch for certainty would take seconds."""
    return shutil.which("nvidia-smi") is not None and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def _gpu_here(
    capability: float | None, memory: float | None
) -> tuple[str, float | None, float | None]:
    import torch

    if not torch.cuda.is_available():
        return "a GPU that this machine does not have", capability, memory
    major, minor = torch.cuda.get_device_capability()
    total = torch.cuda.get_device_properties(0).total_memory
    return torch.cuda.get_device_name(), major + minor / 10, total / _GIB


def _precision(run: RunConfig, hardware: HardwareConfig) -> str:
    precision = str(run.trainer.precision)
    return precision if precision != "auto" else hardware.choice("precision")[0] or "bf16"


def _checkpointing(run: RunConfig, hardware: HardwareConfig) -> bool:
    setting = run.trainer.gradient_checkpointing
    return bool(hardware.choice("gradient_checkpointing")[0] if setting is None else setting)


def _checkpointing_is_fixed(run: RunConfig) -> bool:
    """Return whether the user, the recipe or the user's file of the hardware sets it."""
    origin = run.resolved_from.get("trainer.gradient_checkpointing", "")
    return origin == "set by you" or origin.startswith("recipe") or "hardware.grad" in origin


def _ram_bytes() -> float:
    import psutil

    return float(psutil.virtual_memory().total)
