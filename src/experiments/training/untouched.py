"""Keep a model's configuration unchanged by the trainer.

TRL enables router logits in the `config` of models with experts, which breaks every later pass
without labels of that shape; transformers aligns special tokens when training starts.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def config_of(model: Any) -> Iterator[None]:
    """Restore the values of the model's configurations at the end of the block."""
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
