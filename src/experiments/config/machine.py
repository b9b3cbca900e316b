"""Where a run computes and where it is shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.config.checks import at_least, one_of
from experiments.config.trainer import ATTENTIONS, OPTIMIZERS, PRECISIONS

DEVICES = ("auto", "cpu", "cuda")
TRACKERS = ("none", "trackio")
NATIVE_BF16 = 8.0
"""Compute capability from which a card computes bfloat16 itself; older ones emulate it."""
# Below this, activations are computed again instead of kept. With LoRA on all linear layers a
# 1.7B model keeps about 9 MB a token: 18 GB for 4 rows of 500 tokens, of 40 GB beside the rest.
_ROOMY_GIB = 48
# Memory in GiB up to which a pass takes so many rows.
_ROWS_BY_MEMORY = ((24, 4), (48, 8))
_MOST_ROWS = 16


@dataclass
class HardwareConfig:
    """The machine's defaults for fields of `trainer` that neither user nor recipe set.

    The order is user, then the model's recipe, then this, then a fallback. So a recipe's
    `micro_batch_size` counts on every card, since it was chosen for the size of the model.
    What is null here follows from the facts of the device.
    """

    label: str = "auto"
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    compute_capability: float | None = None
    """Of the GPU that is described: 7.5 for a T4, 8.0 for an A100; null = read from the device."""
    memory_gib: float | None = None
    """Memory that a run can use, in GiB; null = read from the device."""
    peak_tflops: float | None = None
    """Dense matrix products in half precision, 10^12 floating-point operations a second."""
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
        for key in ("compute_capability", "memory_gib", "peak_tflops"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                yield f"hardware.{key}={value}: must be above 0"
        if self.device == "cpu" and self.compute_capability is not None:
            yield (
                f"hardware.compute_capability={self.compute_capability} with hardware.device=cpu: "
                "only a GPU has one; use hardware.device=cuda"
            )

    @property
    def describes_a_gpu(self) -> bool:
        """Whether a GPU of some kind has to be there."""
        facts = (self.compute_capability, self.memory_gib)
        return self.device == "cuda" or (self.device == "auto" and any(facts))

    def choice(self, key: str) -> tuple[Any, str]:
        """Return what this hardware says of a field of `trainer`, and why.

        The value is None where it says nothing, because the device is not known yet.

        >>> HardwareConfig("t4", "cuda", compute_capability=7.5).choice("precision")
        ('fp16', 'compute capability 7.5 is below 8.0, where bfloat16 is emulated')
        """
        known = self._from_facts().get(key, (None, ""))
        wanted = getattr(self, key, None)
        if wanted is None or wanted == known[0]:
            return known
        return wanted, f"hardware.{key}"

    def _from_facts(self) -> dict[str, tuple[Any, str]]:
        """Return field of `trainer` -> value and reason, as far as the device is known."""
        exact = "exact states; adamw_8bit would save memory where all is trained"
        known: dict[str, tuple[Any, str]] = {
            "attention": ("sdpa", "torch's own kernels, which every device has")
        }
        if self.device == "cpu":
            return known | {
                "precision": ("fp32", "a CPU computes fp32 natively"),
                "gradient_checkpointing": (False, "on a CPU time is scarcer than memory"),
                "optimizer": ("adamw", exact),
            }
        if (found := self.compute_capability) is not None:
            native = ("bf16", f"compute capability {found} computes bfloat16 natively")
            emulated = f"is below {NATIVE_BF16}, where bfloat16 is emulated"
            old = ("fp16", f"compute capability {found} {emulated}")
            known["precision"] = native if found >= NATIVE_BF16 else old
        if (memory := self.memory_gib) is not None:
            rows = next((n for limit, n in _ROWS_BY_MEMORY if memory < limit), _MOST_ROWS)
            little = memory < _ROOMY_GIB
            kept = "are computed again, not kept" if little else "are kept"
            known["gradient_checkpointing"] = (little, f"activations {kept} in {memory} GiB")
            known["optimizer"] = ("adamw", exact)
            known["micro_batch_size"] = (rows, f"rows of usual length for {memory} GiB")
        return known


@dataclass
class TrackerConfig:
    """Where curves and scores are shown while and after a run."""

    kind: str = "trackio"
    """`trackio` (local, offline) or `none`."""
    project: str = "lora-experiments"
    """trackio project; runs of one project can be compared."""
    group: str | None = None
    """trackio group; null = the sweep's name."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("tracker.kind", self.kind, TRACKERS)
