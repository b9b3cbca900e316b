"""The libraries of a run, imported before anything else of it is in memory.

Their million objects stay until the end. Without a word to the collector it looks through them
again and again, while they are imported (a seventh of that time) and at each full collection of
the run (0.4 s each).
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
    """Collect nothing meanwhile, and never look again through what is imported.

    Does nothing once torch is there: then models may be, which are to be freed some day.
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
    """Import what scoring needs, and training where the run trains."""
    from experiments import models

    models.silence_libraries()
    for name in _SCORING + (_TRAINING if trains else ()):
        importlib.import_module(name)
