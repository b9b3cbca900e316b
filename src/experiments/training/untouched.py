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
    configs = [base.config, base.config.get_text_config(), base.generation_config]
    unique = {id(config): config for config in configs if config is not None}
    saved = [(config, dict(vars(config))) for config in unique.values()]
    values = [
        {k: copy.copy(v) if isinstance(v, (list, dict)) else v for k, v in fields.items()}
        for _, fields in saved
    ]
    try:
        yield
    finally:
        for (config, _), fields in zip(saved, values, strict=True):
            vars(config).clear()
            vars(config).update(fields)
