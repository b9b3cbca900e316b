"""Progress of long work: a bar on a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def say(text: str) -> None:
    """Print a line at once, whatever stands between us and the reader."""
    print(text, flush=True)


def track(steps: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    """Yield the steps and show how far they are; `total` counts what `unit` names."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(steps, label, total=total, console=Console(stderr=True), transient=True)
        return
    began = last = time.monotonic()
    for done, step in enumerate(steps):
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = (now - began) / done * (total - done) if done else 0.0
            say(f"{label}: {done}/{total} {unit}, about {left:.0f} s left")
        yield step
