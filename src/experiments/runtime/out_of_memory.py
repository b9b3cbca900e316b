"""Recognise out-of-memory errors, and free the memory of a failed attempt."""

import gc
import sys


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that memory ran out, on the GPU or on the host.

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


def release() -> None:
    """Free the memory of a failed attempt; call it after the `except` block has ended.

    Until then, the error's traceback keeps the tensors of the failed functions alive.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
