"""Show the progress of long work: a bar on a terminal, a line every 10 seconds in a log.

The first line of a log comes after a second, so that work of minutes is announced at its start.
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES, SECONDS_TO_FIRST_LINE = 10.0, 1.0
# A terminal can show only one set of bars, so a run adds its bars below that of its sweep.
_live: list[Any] = []


def log(text: str) -> None:
    """Print a line and flush it, so that it appears at once in pipes and log files."""
    print(text, flush=True)


def track(steps: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    """Yield the steps and show their progress.

    Args:
        steps: the steps to go through.
        total: the number of steps.
        label: the name of the work.
        unit: the name of a step, in the plural.
    """
    if _live:
        task = _live[-1].add_task(label, total=total)
        try:
            for step in steps:
                yield step
                _live[-1].advance(task)
        finally:
            _live[-1].remove_task(task)
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import track as bar

        yield from bar(
            steps, escape(label), total=total, console=Console(stderr=True), transient=True
        )
        return
    began = time.monotonic()
    next_line = began + SECONDS_TO_FIRST_LINE
    for done, step in enumerate(steps):
        now = time.monotonic()
        if done and now >= next_line:
            next_line = now + SECONDS_BETWEEN_LINES
            rate = done / (now - began)
            left = (total - done) / rate
            log(f"{label}: {done}/{total} {unit}, {rate:.2g} per second, about {left:.0f} s left")
        yield step


@contextlib.contextmanager
def live() -> Iterator[Any]:
    """Show a set of bars at the bottom of the terminal; printed lines scroll above them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    bars = Progress(*columns, console=Console(stderr=True))
    with bars:
        _live.append(bars)
        try:
            yield bars
        finally:
            _live.remove(bars)
