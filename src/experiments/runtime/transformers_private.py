"""The private names of transformers that this project uses; no other module uses one.

`tests/contracts/test_private_apis.py` has a test for each name, which fails when the name is gone.
"""

from typing import Any

# The class attributes by which a model states the attention kernels that it supports.
ATTENTION_FLAGS = {"sdpa": "_supports_sdpa", "flash_attention_2": "_supports_flash_attn"}


def template_environment(template: str) -> Any:
    """Return the Jinja environment in which transformers compiles a chat template.

    Raises:
        jinja2.TemplateError: the template has a syntax error.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(template).environment


def supports_attention(model_class: Any, attention: str) -> bool:
    """Return whether a model class has the kernels; True for kernels without a flag."""
    flag = ATTENTION_FLAGS.get(attention)
    return flag is None or getattr(model_class, flag, True)


def attention_of(model: Any) -> str:
    """Return the attention implementation of a loaded model."""
    return str(model.config._attn_implementation)


def unlogged_loss(trainer: Any) -> tuple[float, int]:
    """Return the sum of the losses since the trainer's last log entry, and that entry's step."""
    return trainer._tr_loss.item(), int(trainer._globalstep_last_logged)


def restore_unlogged_loss(trainer: Any, loss_sum: float, logged_step: int) -> None:
    """Add losses to those that the trainer's next log entry is a mean over."""
    trainer._tr_loss += loss_sum
    trainer._globalstep_last_logged = logged_step


def gguf_architectures() -> set[str]:
    """Return the architectures, as GGUF files name them, that transformers reads."""
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return {*GGUF_CONFIG_ARCHS, *GGUF_SUPPORTED_ARCHITECTURES}
