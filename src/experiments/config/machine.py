"""Where a run computes and where it is shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.config.checks import one_of

DEVICES = ("auto", "cpu", "cuda")
TRACKERS = ("none", "trackio")


@dataclass
class HardwareConfig:
    """The machine's defaults for fields of `trainer` that neither user nor recipe set."""

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
    micro_batch_size: int | None = None
    gradient_checkpointing: bool | None = None
    optimizer: str | None = None

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("hardware.device", self.device, DEVICES)


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
        # trackio drops other characters without a word, and two projects become one.
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.project):
            yield (
                f"tracker.project={self.project}: a project's name has letters, digits, `_` and "
                "`-` only"
            )
