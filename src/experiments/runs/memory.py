"""How much memory a run took, and whether it was too much."""

import resource
import sys

from experiments.out_of_memory import is_out_of_memory

__all__ = ["is_out_of_memory", "peak"]


def peak() -> dict[str, int]:
    """Return the process's peak memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["peak_cuda_bytes"] = int(torch.cuda.max_memory_allocated())
    return found
