"""Where a run computes and where it is shown."""

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
