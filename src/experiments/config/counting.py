"""Compute which linear layers get a LoRA adapter, and the size of each, from the model's shape.

The module repeats PEFT's name-matching rules so that loading a config and planning need no torch. A
test compares the counts with PEFT's own on models without weights.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.config.geometry import Geometry
from experiments.config.lora_config import LoraConfig
from experiments.errors import AdapterError, did_you_mean

# Keys of `lora.extra` that change which parameters are trained in a way that this module does not
# count.
UNCOUNTED = (
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "megatron_config",
)
_LAYER = re.compile(r".*?\.(\d+)\.")


@dataclass(frozen=True)
class Linear:
    """A linear layer with a weight of shape (outputs, inputs)."""

    name: str
    inputs: int
    outputs: int
    has_bias: bool = False

    @property
    def leaf(self) -> str:
        """Last part of the layer's dotted name."""
        return self.name.rpartition(".")[2]

    @property
    def weights(self) -> int:
        """Number of parameters without the bias."""
        return self.inputs * self.outputs

    @property
    def biases(self) -> int:
        """Number of parameters in the bias."""
        return self.outputs if self.has_bias else 0


@dataclass(frozen=True)
class Adapter:
    """The LoRA adapter of one linear layer."""

    on: Linear
    r: int
    parameters: int


def layer_linears(shape: Geometry) -> list[Linear]:
    """Return the linear layers of one decoder layer, with names such as `self_attn.q_proj`."""
    hidden, q, kv = shape.hidden_size, shape.query_width, shape.key_width
    mlp_width, qkv_bias = shape.intermediate_size, shape.attention_bias
    o_bias = qkv_bias and shape.architecture != "qwen2"
    return [
        Linear("self_attn.q_proj", hidden, q, qkv_bias),
        Linear("self_attn.k_proj", hidden, kv, qkv_bias),
        Linear("self_attn.v_proj", hidden, kv, qkv_bias),
        Linear("self_attn.o_proj", q, hidden, o_bias),
        Linear("mlp.gate_proj", hidden, mlp_width, shape.mlp_bias),
        Linear("mlp.up_proj", hidden, mlp_width, shape.mlp_bias),
        Linear("mlp.down_proj", mlp_width, hidden, shape.mlp_bias),
    ]


def linears(shape: Geometry) -> list[Linear]:
    """Return every linear layer except the LM head, with its full name."""
    return [
        Linear(f"model.layers.{i}.{linear.name}", linear.inputs, linear.outputs, linear.has_bias)
        for i in range(shape.layers)
        for linear in layer_linears(shape)
    ]


def adapters_of(shape: Geometry, lora: LoraConfig) -> Iterator[Adapter]:
    """Yield the adapters of a run, in layer order.

    Raises:
        AdapterError: a target module matches no linear layer.
    """
    assert lora.r is not None, "config.load resolves it"
    head = Linear("lm_head", shape.hidden_size, shape.vocabulary)
    for linear in _targets(shape, lora, head):
        r = _rank(linear.name, lora)
        parameters = r * (linear.inputs + linear.outputs)
        # DoRA's magnitude has one value per output row.
        parameters += linear.outputs if lora.use_dora else 0
        parameters += linear.outputs if lora.extra.get("lora_bias") else 0
        yield Adapter(linear, r, parameters)


def _targets(shape: Geometry, lora: LoraConfig, head: Linear) -> Iterator[Linear]:
    """Yield the linear layers that get an adapter, by PEFT's rules.

    The rules cover target names, layers to transform, excluded modules and modules to save.
    """
    targets, excluded = lora.target_modules, lora.extra.get("exclude_modules")
    all_linears = linears(shape)
    if targets != "all-linear":
        _check_names(targets, [*all_linears, head])
    layers = lora.extra.get("layers_to_transform")
    layers = [layers] if isinstance(layers, int) else layers
    saved_modules = list(lora.extra.get("modules_to_save") or ())
    for linear in [*all_linears, head]:
        layer = _LAYER.match(linear.name)
        is_target = targets == "all-linear" if linear is not head else bool(lora.output_head)
        if not is_target and (targets == "all-linear" or not _matches(linear.name, targets)):
            continue
        if excluded and _matches(linear.name, excluded):
            continue
        if any(linear.name.endswith(name) for name in saved_modules):
            continue
        if layers is not None and (layer is None or int(layer[1]) not in layers):
            continue
        yield linear


def _check_names(targets: list[str], all_linears: list[Linear]) -> None:
    for name in targets:
        if not any(_matches(linear.name, [name]) for linear in all_linears):
            leaves = sorted({linear.leaf for linear in all_linears})
            raise AdapterError(
                f"lora.target_modules: '{name}' matches no linear layer of this model; "
                f"{did_you_mean(name, leaves)}."
            )


def _matches(name: str, targets: Any) -> bool:
    """Return whether a module is selected.

    A list contains module names or name suffixes; a string is a regular expression that must match
    the full name.
    """
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _rank(name: str, lora: LoraConfig) -> int:
    for pattern, r in (lora.extra.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return int(r)
    assert lora.r is not None
    return lora.r
