"""How long this process may go on: a time on the clock, set once for a run or a whole sweep.

Wall-clock time, because a sweep hands it to processes on other machines. Whoever does long work
asks here between two pieces of it; nothing is cut off.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.errors import OutOfBudget


@dataclass
class _State:
    ends_at: float | None = None


_state = _State()


def process_began() -> float:
    """Return when this process was started, in seconds since the epoch."""
    import psutil

    return float(psutil.Process().create_time())


def ends_at() -> float | None:
    """Return when the time is over, in seconds since the epoch; None if it never is."""
    return _state.ends_at


@contextlib.contextmanager
def ending(at: float | None) -> Iterator[None]:
    """Let the time be over at a moment, within the block."""
    before = _state.ends_at
    _state.ends_at = at
    try:
        yield
    finally:
        _state.ends_at = before


def seconds_left() -> float | None:
    """Return the seconds that are left, below 0 where they are over; None without an end."""
    return None if _state.ends_at is None else _state.ends_at - time.time()


def is_spent(needed_seconds: float = 0.0) -> bool:
    """Whether less is left than something needs."""
    left = seconds_left()
    return left is not None and left <= needed_seconds


def spend() -> None:
    """Let the time be over now: what stopped to be in time shows that nothing more fits in."""
    _state.ends_at = time.time()


def check(where: str) -> None:
    """Stop if the time is over.

    Args:
        where: what stopped and what it leaves, as the end of a sentence.

    Raises:
        OutOfBudget: it is.
    """
    if is_spent():
        raise OutOfBudget(sentence(where))


def sentence(where: str) -> str:
    """Return what a record and a terminal say of a stop."""
    return f"budget.hours is spent: {where}; the same line goes on."
