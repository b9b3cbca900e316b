"""The output head and the input embedding in training: adapters on the head, frozen embeddings.

In many models both are one matrix (they are tied). An adapter on the head then changes the logits
and leaves the embedding as it is: the head computes W + scale x B A, the embedding reads W. Merged
weights need a head of their own.
"""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any

from experiments.config import RunConfig
from experiments.errors import AdapterError
from experiments.models.adapters import targets

# The start of PEFT's warning about an adapter on one of two tied layers.
_TIED_WARNING = "Model has `tie_word_embeddings=True`"
_TIED_TARGETS_WARNING = "Model with `tie_word_embeddings=True`"
_UNTIED_WARNING = "Input and output embeddings are no longer tied"


def is_adapted(model: Any) -> bool:
    """Return whether the output head has an adapter."""
    return hasattr(model.get_output_embeddings(), "lora_A")


def refuse_other_losses(run: RunConfig, model: Any) -> None:
    """Refuse what would not train the adapter on the head, or not only the head.

    Raises:
        AdapterError: names the keys.
    """
    name = _short_name(model)
    extra = run.trainer.extra
    if extra.get("loss_type", "nll") != "nll" or extra.get("label_smoothing_factor"):
        raise AdapterError(
            f"lora: an adapter on the output head '{name}' with trainer.extra.loss_type or "
            "label_smoothing_factor: these losses of TRL read the head's weight without its "
            "adapter; remove one of them."
        )
    if any(config.ensure_weight_tying for config in model.peft_config.values()):
        raise AdapterError(
            f"lora.extra.ensure_weight_tying=true with an adapter on the output head '{name}': it "
            "would also change the input embedding; remove one of them."
        )


def notes(model: Any) -> tuple[str, ...]:
    """Return what a run prints about the adapter on its head."""
    name = _short_name(model)
    if not targets.is_tied(model.get_base_model()):
        return (f"output head {name} has an adapter",)
    return (
        f"output head {name} has an adapter; the input embedding, with which it shares its weight, "
        "is not trained",
    )


def freeze_embeddings(model: Any) -> tuple[str, ...]:
    """Freeze the input embedding of a model that is trained in full; return what a run prints."""
    tied = targets.is_tied(model)
    embedding = model.get_input_embeddings()
    embedding.requires_grad_(False)
    name = next(n for n, m in model.named_modules() if m is embedding).rpartition(".")[2]
    if not tied:
        return (f"input embedding {name} is frozen; the output head is trained",)
    return (f"input embedding {name} is frozen, and with it the output head that is tied to it",)


@contextlib.contextmanager
def tied_on_purpose() -> Iterator[None]:
    """Suppress PEFT's warnings about tied layers; a run prints what it does with them."""
    with warnings.catch_warnings():
        for message in (_TIED_WARNING, _TIED_TARGETS_WARNING, _UNTIED_WARNING):
            warnings.filterwarnings("ignore", message=message)
        yield


def without_copies(model: Any) -> Any:
    """Make a model with an adapter on its head save the adapter alone, and return the model.

    PEFT would also write the head's unchanged weight, which is as large as the embedding.
    """
    if is_adapted(model):
        model.save_pretrained = functools.partial(
            model.save_pretrained, save_embedding_layers=False
        )
    return model


def merged(model: Any) -> Any:
    """Return the base model with its adapter merged into the weights.

    A tied head with an adapter first gets a copy of its weight, because the merged head differs
    from the embedding; the model's config then says that they are not tied.
    """
    import torch

    base = model.get_base_model()
    untied = is_adapted(model) and targets.is_tied(base)
    if untied:
        layer = model.get_output_embeddings().base_layer
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        for config in {id(c): c for c in (base.config, base.config.get_text_config())}.values():
            config.tie_word_embeddings = False
    with tied_on_purpose():
        plain = model.merge_and_unload()
    if untied:
        plain.all_tied_weights_keys = {}
    return plain


def _short_name(model: Any) -> str:
    return str(targets.head_name(model)).rpartition(".")[2]
