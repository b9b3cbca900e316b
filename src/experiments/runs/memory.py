"""How much memory a run took, and whether it was too much."""

import resource
import sys


def peak() -> dict[str, int]:
    """Return the process's peak memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["peak_cuda_bytes"] = int(torch.cuda.max_memory_allocated())
    return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or not.

    >>> is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    True
    """
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
    )
