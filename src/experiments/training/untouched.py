"""A model's configuration stays as it was loaded, whatever a trainer writes into it.

TRL asks models with experts for router logits in `config`, which then breaks every later pass
that has no labels of that shape; transformers aligns special tokens as training begins.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def config_of(model: Any) -> Iterator[None]:
    """Give the model's configurations back their values when this ends."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    found = [base.config, base.config.get_text_config(), base.generation_config]
    owners = {id(one): one for one in found if one is not None}
    kept = [(one, dict(vars(one))) for one in owners.values()]
    values = [
        {k: copy.copy(v) if isinstance(v, (list, dict)) else v for k, v in before.items()}
        for _, before in kept
    ]
    try:
        yield
    finally:
        for (one, _), before in zip(kept, values, strict=True):
            vars(one).clear()
            vars(one).update(before)
