"""Measure the peak growth of the process's resident memory."""

import contextlib
import ctypes
import gc
import threading

import psutil


def release_freed_memory() -> None:
    """Return freed memory to the system if the C library can, so that growth starts low."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class Watch:
    """Samples the resident memory from its construction until `peak_growth` is called."""

    def __init__(self, seconds_between_looks: float = 0.005) -> None:
        """Record the current resident memory and start sampling."""
        self._seconds = seconds_between_looks
        self._process = psutil.Process()
        self._start = self._peak = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _now(self) -> int:
        return int(self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._done.wait(self._seconds):
            self._peak = max(self._peak, self._now())

    def peak_growth(self) -> int:
        """Stop sampling and return the largest growth, in bytes."""
        self._done.set()
        self._thread.join()
        return max(0, max(self._peak, self._now()) - self._start)
