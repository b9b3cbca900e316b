"""An error -> whether memory ran out; and the memory that it held, given back."""

import gc
import sys


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


def release() -> None:
    """Give back what a failed attempt held; call it when its error is no longer handled.

    An error's traceback holds the tensors of the functions that it left.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
