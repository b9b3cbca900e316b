"""Import a run's libraries first, out of sight of the garbage collector.

The libraries create about a million objects that live until the process ends. By default the
collector scans them repeatedly: during the import (a seventh of the import time) and at each full
collection of the run (0.4 s each).
"""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator

_SCORING = ("transformers.modeling_utils", "peft")
_TRAINING = ("trl.trainer.sft_trainer",)


@contextlib.contextmanager
def imported_once() -> Iterator[None]:
    """Disable garbage collection within the block, then freeze all objects that exist (gc.freeze).

    Does nothing if torch is already imported, because models may exist then, and a frozen model
    would never be collected.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def import_all(*, trains: bool) -> None:
    """Import the libraries for scoring and, if the run trains, those for training."""
    from experiments import models

    models.silence_libraries()
    for name in _SCORING + (_TRAINING if trains else ()):
        importlib.import_module(name)
