"""The deadline of this process (`budget.hours`), set once for a run or a sweep.

Deadlines are wall-clock times in seconds since the epoch, because a sweep passes them to processes
on other hosts. Long-running code checks the deadline between two units of work; a unit that has
started is never interrupted.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.errors import OutOfBudget


@dataclass
class _Deadline:
    ends_at: float | None = None


_state = _Deadline()


def process_began() -> float:
    """Return the start time of this process, in seconds since the epoch."""
    import psutil

    return float(psutil.Process().create_time())


def ends_at() -> float | None:
    """Return the deadline in seconds since the epoch; None if there is none."""
    return _state.ends_at


@contextlib.contextmanager
def ending(deadline: float | None) -> Iterator[None]:
    """Set a deadline for the duration of the block."""
    previous = _state.ends_at
    _state.ends_at = deadline
    try:
        yield
    finally:
        _state.ends_at = previous


def seconds_left() -> float | None:
    """Return the seconds until the deadline, negative once it has passed; None without one."""
    return None if _state.ends_at is None else _state.ends_at - time.time()


def is_spent(needed_seconds: float = 0.0) -> bool:
    """Return whether the time left is at most `needed_seconds`."""
    remaining = seconds_left()
    return remaining is not None and remaining <= needed_seconds


def spend() -> None:
    """Set the deadline to now, for a unit of work that did not fit into the time left."""
    _state.ends_at = time.time()


def check(where: str) -> None:
    """Raise if the deadline has passed.

    Args:
        where: what stopped and in which state, as the end of a sentence.

    Raises:
        OutOfBudget: the deadline has passed.
    """
    if is_spent():
        raise OutOfBudget(sentence(where))


def sentence(where: str) -> str:
    """Return the message about a stop, for the record and the terminal."""
    return f"budget.hours is spent: {where}; rerun the same command to resume."
