"""Count the parameters of a model and those that a run trains.

A test compares the counts with PEFT on models without weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from experiments.config import LoraConfig
from experiments.config.counting import UNCOUNTED, Adapter, adapters_of, linears
from experiments.config.geometry import Geometry


@dataclass(frozen=True)
class Counts:
    """How many parameters a model has, and how many of them are trained."""

    total: int
    """Parameters of the base model; a tied head counts once."""
    trainable: int
    linear: int
    """Weights of the linear layers inside the layers, which a 4-bit model quantises."""
    embeddings: int
    """Embedding and head; a tied head counts once."""
    adapters: tuple[Adapter, ...]
    copies: int
    """Parameters that exist twice because `modules_to_save` trains a copy."""
    uncounted: tuple[str, ...] = ()
    """Keys of `lora.extra` that are not counted, so that the count is rough."""

    @property
    def adapter(self) -> int:
        """Number of parameters of the adapters."""
        return sum(adapter.parameters for adapter in self.adapters)


def count(shape: Geometry, lora: LoraConfig, *, freeze_embeddings: bool = False) -> Counts:
    """Count a model's parameters and those that a run trains.

    Args:
        shape: the model's shape.
        lora: the adapters.
        freeze_embeddings: whether full fine-tuning leaves out the input embedding.

    Raises:
        AdapterError: a target matches no linear layer.
    """
    modules = dict(_modules(shape))
    embeddings = shape.vocabulary * shape.hidden_size * (1 if shape.tied_embeddings else 2)
    weights = sum(item.weights for item in linears(shape))
    total = sum(modules.values()) - (modules["lm_head"] if shape.tied_embeddings else 0)
    if lora.method == "none":
        frozen = modules["model.embed_tokens"] if freeze_embeddings else 0
        return Counts(total, total - frozen, weights, embeddings, (), 0)
    adapters = tuple(adapters_of(shape, lora))
    copies = sum(n for _, n in _saved_modules(modules, lora))
    others = copies + _trained_biases(shape, lora, adapters)
    trainable = others + sum(item.parameters for item in adapters)
    uncounted = tuple(key for key in UNCOUNTED if lora.extra.get(key))
    uncounted += ("init_lora_weights=mica",) if lora.init_lora_weights == "mica" else ()
    return Counts(total, trainable, weights, embeddings, adapters, copies, uncounted)


def linear_share(shape: Geometry, lora: LoraConfig) -> float:
    """Return the trained parameters in linear layers, without the head, as a share of theirs.

    Raises:
        AdapterError: a target matches no linear layer.
    """
    if lora.method == "none":
        return 1.0
    layers = {layer.name: layer.weights + layer.biases for layer in linears(shape)}
    trained = sum(item.parameters for item in adapters_of(shape, lora) if item.on.name in layers)
    return trained / sum(layers.values())


def _modules(shape: Geometry) -> Iterator[tuple[str, int]]:
    """Yield each module that has parameters, with their number."""
    table = shape.vocabulary * shape.hidden_size
    yield "model.embed_tokens", table
    for layer in linears(shape):
        yield layer.name, layer.weights + layer.biases
    for i in range(shape.layers):
        prefix = f"model.layers.{i}"
        yield f"{prefix}.input_layernorm", shape.hidden_size
        yield f"{prefix}.post_attention_layernorm", shape.hidden_size
        if shape.has_head_norms:
            yield f"{prefix}.self_attn.q_norm", shape.head_dim
            yield f"{prefix}.self_attn.k_norm", shape.head_dim
    yield "model.norm", shape.hidden_size
    yield "lm_head", table


def _saved_modules(modules: dict[str, int], lora: LoraConfig) -> list[tuple[str, int]]:
    """Return the modules that are trained as a full copy, each once."""
    suffixes = lora.extra.get("modules_to_save") or ()
    return [
        (n, size) for n, size in modules.items() if any(n.endswith(suffix) for suffix in suffixes)
    ]


def _trained_biases(shape: Geometry, lora: LoraConfig, adapters: tuple[Adapter, ...]) -> int:
    bias = lora.extra.get("bias", "none")
    if bias == "all":
        return sum(layer.biases for layer in linears(shape))
    return sum(a.on.biases for a in adapters) if bias == "lora_only" else 0
