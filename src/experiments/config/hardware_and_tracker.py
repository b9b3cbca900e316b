"""Schema of `hardware` and `tracker`: the device that a run uses and where its curves are shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.config.trainer_config import ATTENTIONS, OPTIMIZERS, PRECISIONS
from experiments.config.value_checks import at_least, one_of

DEVICES = ("auto", "cpu", "cuda")
TRACKERS = ("none", "trackio")
NATIVE_BF16 = 8.0
"""Compute capability from which a GPU supports bfloat16 natively; older GPUs emulate it."""
# Below this memory, gradient checkpointing is on. With LoRA on all linear layers, a 1.7B model
# keeps about 9 MB of activations per token: 18 GB for 4 rows of 500 tokens, on a 40 GB GPU that
# also stores everything else.
_ROOMY_GIB = 48
# Pairs of a memory limit in GiB and the micro-batch size in rows below that limit.
_ROWS_BY_MEMORY = ((24, 4), (48, 8))
_MAX_ROWS = 16


@dataclass
class HardwareConfig:
    """The machine's defaults for fields of `trainer` that neither the user nor the recipe sets.

    The order of precedence is the user, the model's recipe, this config, a fallback. A recipe's
    `micro_batch_size` therefore applies on every GPU, because it was chosen for the size of the
    model. Fields that are null here are derived from the device's properties.
    """

    label: str = "auto"
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    compute_capability: float | None = None
    """Compute capability of the GPU: 7.5 for a T4, 8.0 for an A100; null = read from the device."""
    memory_gib: float | None = None
    """Memory available to a run, in GiB; null = read from the device."""
    peak_tflops: float | None = None
    """Dense half-precision matrix throughput, in 10^12 floating-point operations per second."""
    memory_gbs: float | None = None
    """Memory bandwidth in 10^9 bytes per second, for the hours of answers in a plan."""
    precision: str | None = None
    attention: str | None = None
    gradient_checkpointing: bool | None = None
    optimizer: str | None = None
    micro_batch_size: int | None = None

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("hardware.device", self.device, DEVICES)
        for key, allowed in (
            ("precision", PRECISIONS),
            ("attention", ATTENTIONS),
            ("optimizer", OPTIMIZERS),
        ):
            if getattr(self, key) is not None:
                yield from one_of(f"hardware.{key}", getattr(self, key), allowed)
        yield from at_least("hardware.micro_batch_size", self.micro_batch_size, 1)
        for key in ("compute_capability", "memory_gib", "peak_tflops", "memory_gbs"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                yield f"hardware.{key}={value}: must be above 0"
        if self.device == "cpu" and self.compute_capability is not None:
            yield (
                f"hardware.compute_capability={self.compute_capability} with hardware.device=cpu: "
                "only GPUs have one; use hardware.device=cuda"
            )

    @property
    def describes_a_gpu(self) -> bool:
        """Whether this config requires a GPU."""
        gpu_properties = (self.compute_capability, self.memory_gib)
        return self.device == "cuda" or (self.device == "auto" and any(gpu_properties))

    def choice(self, key: str) -> tuple[Any, str]:
        """Return the default of this hardware for a field of `trainer`, and the reason.

        The value is None if there is no default because the device is not known yet.

        >>> HardwareConfig("t4", "cuda", compute_capability=7.5).choice("precision")
        ('fp16', 'compute capability 7.5 is below 8.0, where bfloat16 is emulated')
        """
        default = self._derived_defaults().get(key, (None, ""))
        configured = getattr(self, key, None)
        if configured is None or configured == default[0]:
            return default
        return configured, f"hardware.{key}"

    def _derived_defaults(self) -> dict[str, tuple[Any, str]]:
        """Return value and reason for each field of `trainer`, as far as the device is known."""
        exact = "32-bit optimizer states; adamw_8bit saves memory in full fine-tuning"
        defaults: dict[str, tuple[Any, str]] = {
            "attention": ("sdpa", "PyTorch's own kernels, available on every device")
        }
        if self.device == "cpu":
            return defaults | {
                "precision": ("fp32", "a CPU computes fp32 natively"),
                "gradient_checkpointing": (False, "on a CPU, time is scarcer than memory"),
                "optimizer": ("adamw", exact),
            }
        if (capability := self.compute_capability) is not None:
            native = ("bf16", f"compute capability {capability} computes bfloat16 natively")
            emulated = f"is below {NATIVE_BF16}, where bfloat16 is emulated"
            fallback = ("fp16", f"compute capability {capability} {emulated}")
            defaults["precision"] = native if capability >= NATIVE_BF16 else fallback
        if (memory := self.memory_gib) is not None:
            rows = next((n for limit, n in _ROWS_BY_MEMORY if memory < limit), _MAX_ROWS)
            is_small = memory < _ROOMY_GIB
            treatment = "are recomputed, not stored," if is_small else "are stored"
            defaults["gradient_checkpointing"] = (
                is_small,
                f"activations {treatment} with {memory} GiB",
            )
            defaults["optimizer"] = ("adamw", exact)
            defaults["micro_batch_size"] = (rows, f"fits rows of typical length in {memory} GiB")
        return defaults


@dataclass
class TrackerConfig:
    """Where curves and scores are shown during and after a run."""

    kind: str = "trackio"
    """`trackio` (local, offline) or `none`."""
    project: str = "lora-experiments"
    """trackio project; runs of one project can be compared."""
    group: str | None = None
    """trackio group; null = the sweep's name."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("tracker.kind", self.kind, TRACKERS)
        # trackio silently drops other characters, which could merge two projects into one.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.project):
            yield (
                f"tracker.project={self.project}: a project name may contain only letters, digits, "
                "`_` and `-`"
            )
