"""Measure a run's peak memory, and recognise out-of-memory errors."""

import resource
import sys

from experiments.runtime.out_of_memory import is_out_of_memory

__all__ = ["is_out_of_memory", "note_peak", "peak"]


def peak() -> dict[str, int]:
    """Return the process's peak memory, in bytes."""
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peaks = {"peak_rss_bytes": peak_rss if sys.platform == "darwin" else peak_rss * 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peaks["peak_cuda_bytes"] = int(torch.cuda.max_memory_allocated())
    return peaks


def note_peak(memory: dict[str, int]) -> None:
    """Update a record's memory with the peaks so far; a larger value already there is kept."""
    for key, value in peak().items():
        memory[key] = max(value, memory.get(key, 0))
