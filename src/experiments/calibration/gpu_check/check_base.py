"""The first steps of a check: the card, how fast it can be, and a base of random weights."""

import shutil
import time
from collections.abc import Callable
from typing import Any

from experiments.calibration import planning_measurements
from experiments.calibration.gpu_check.check_setting import CheckSetting
from experiments.config.hardware_and_tracker import NATIVE_BF16
from experiments.models import BASES

_GIB = 2**30


def facts(setting: CheckSetting) -> dict[str, Any]:
    """Return what the device is, and its matrix and memory rates."""
    import torch

    on_cuda = torch.cuda.is_available()
    if not on_cuda and not setting.small:
        raise RuntimeError("torch sees no CUDA device: install its CUDA build, or use --small")
    found: dict[str, Any] = {"device": "cuda" if on_cuda else "cpu", "torch": torch.__version__}
    if on_cuda:
        major, minor = torch.cuda.get_device_capability()
        total = torch.cuda.get_device_properties(0).total_memory
        found |= {
            "card": torch.cuda.get_device_name(),
            "compute_capability": major + minor / 10,
            "memory_gib": round(total / _GIB, 2),
            "cuda": torch.version.cuda,
        }
    else:
        found["card"] = "cpu"
    names = ["fp32", *(["fp16"] if on_cuda else [])]
    if found.get("compute_capability", 0) >= NATIVE_BF16:
        names.append("bf16")
    found["tflops"] = {name: _matrix_rate(name, setting.small) / 1e12 for name in names}
    found["memory_gbs"] = _memory_rate(setting.small) / 1e9
    return found


def random_base(setting: CheckSetting) -> dict[str, Any]:
    """Write the base: random weights in fp16, and the tokenizer of the embedded base."""
    import torch
    from transformers import set_seed

    part = setting.base.with_name(setting.base.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    set_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = planning_measurements.random_model(setting.shape, torch.float16)
    model.save_pretrained(part)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(BASES / "tiny" / name, part)
    shutil.rmtree(setting.base, ignore_errors=True)
    part.rename(setting.base)
    return {"parameters": model.num_parameters(), "layers": setting.shape.layers}


def _matrix_rate(precision: str, small: bool) -> float:
    """Return the operations per second of a product of two large matrices."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    width = 256 if small else 4096
    matrix = torch.ones(width, width, dtype=dtype, device=device)
    return 2 * width**3 / _seconds(lambda: matrix @ matrix)


def _memory_rate(small: bool) -> float:
    """Return the bytes per second at which memory is read and written in a copy."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = torch.ones((1 if small else 128) * 2**20, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _seconds(lambda: target.copy_(source))


def _seconds(work: Callable[[], object], repeats: int = 10) -> float:
    """Return the seconds of one of several calls, after a first one that warms up."""
    import torch

    began = 0.0
    for i in range(repeats + 1):
        if i == 1:
            _wait(torch)
            began = time.perf_counter()
        work()
    _wait(torch)
    return max(1e-9, (time.perf_counter() - began) / repeats)


def _wait(torch: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
