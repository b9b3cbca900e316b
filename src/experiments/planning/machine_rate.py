"""Measure how fast this machine's CPU multiplies matrices and reads memory, in half a second.

numpy's products use all cores as torch's do, and numpy is imported in a tenth of the time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

_WIDTH = 1024
_MEGABYTES = 256
_REPEATS = 3


@dataclass(frozen=True)
class MachineRate:
    """The speed of a CPU."""

    flops: float
    """Operations per second of an fp32 product of two matrices with 1,024 rows and columns."""
    memory_bytes: float
    """Bytes per second when the maximum of an array that no cache holds is found."""


def measure() -> MachineRate:
    """Return this machine's speed; the fastest of a few repeats counts."""
    import numpy

    matrix = numpy.ones((_WIDTH, _WIDTH), numpy.float32)
    array = numpy.ones(_MEGABYTES * 2**20 // 4, numpy.float32)
    product_seconds = _fastest(lambda: matrix @ matrix)
    read_seconds = _fastest(array.max)
    return MachineRate(2 * _WIDTH**3 / product_seconds, array.nbytes / read_seconds)


def _fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest repeat; the first one warms up."""
    seconds = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return max(1e-9, min(seconds))
