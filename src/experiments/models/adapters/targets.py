"""Find the layers of a model that match target modules and would actually be trained.

`all-linear` excludes experts, their routers, parts of a model that text does not pass through, and
layers whose weight the model reads without calling them: an adapter on those would never be
trained.
"""

from typing import Any

from experiments.config import LoraConfig
from experiments.errors import AdapterError, did_you_mean

# Names that PEFT 0.21 (`_MOE_TARGET_MODULE_MAPPING`) treats as a model's stacked experts, even if a
# dense layer or a shared expert has that name. It would adapt all experts, at twice the rank.
_TAKEN_FOR_EXPERTS = frozenset({"gate", "w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"})
# Last parts of the names of layers that route tokens to experts.
_ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})
# Number of tokens in the forward pass that shows which layers are called.
_PROBE_TOKENS = 8


def check_targets(lora: LoraConfig, model: Any) -> None:
    """Check that every target name matches a layer, so that a partial match does not go unnoticed.

    Raises:
        AdapterError: a name matches no linear layer of the part that processes text.
    """
    if lora.method == "none":
        return
    idle = idle_layers(model)
    linear = [name for name in _linear_layers(model) if name not in idle]
    if not _adaptable(linear):
        raise AdapterError("lora: this model has no linear layer that can be adapted.")
    if lora.target_modules == "all-linear":
        return
    stacked = bool(_stacked_experts(model))
    if stacked:
        linear = [n for n in linear if n.rpartition(".")[2] not in _TAKEN_FOR_EXPERTS]
    names = [*linear, *([] if (head := head_name(model)) is None else [head])]
    for target in lora.target_modules:
        leaves = sorted({name.rpartition(".")[2] for name in linear})
        if uncalled := [name for name in sorted(idle) if _matches(name, target)]:
            raise AdapterError(
                f"lora.target_modules: '{target}' matches {uncalled[0]}, whose weight this model "
                "reads without calling the layer, so an adapter on it would not be trained; "
                f"allowed: {', '.join(leaves)}."
            )
        if not any(_matches(name, target) for name in names):
            raise AdapterError(
                f"lora.target_modules: '{target}' matches no linear layer of this model"
                f"{' outside its experts' if stacked else ''}, so fewer modules would be trained "
                f"than the config lists; {did_you_mean(target, leaves)}{_experts_hint(model)}."
            )


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def _linear_layers(model: Any) -> list[str]:
    """Return the linear layers that text passes through, without the LM head."""
    import torch
    from transformers.pytorch_utils import Conv1D

    decoder, head = _text_part(model), model.get_output_embeddings()
    decoder_modules = {id(module) for module in decoder.modules()}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D))
        and id(module) in decoder_modules
        and module is not head
    ]


def linear_sizes(model: Any) -> dict[str, int]:
    """Return the number of parameters of each linear layer except the head, by its name.

    A 4-bit weight counts as the matrix that it stands for.
    """
    return {name: _size(model.get_submodule(name)) for name in _linear_layers(model)}


def _size(layer: Any) -> int:
    bias = 0 if layer.bias is None else layer.bias.numel()
    if hasattr(layer, "in_features"):
        return int(layer.in_features * layer.out_features + bias)
    return int(layer.weight.numel() + bias)


def _text_part(model: Any) -> Any:
    """Return the decoder of a multimodal model, or the model itself if it has one part."""
    if model.config.get_text_config() is model.config:
        return model
    return model.get_decoder()


def _adaptable(linear: list[str]) -> list[str]:
    """Remove experts and routers, which are adapted only if they are named explicitly."""
    return [n for n in linear if not set(n.split(".")) & {"experts", *_ROUTERS}]


def _count_linear_layers(model: Any) -> int:
    """Count all linear layers except the LM head, including those outside the text part."""
    import torch
    from transformers.pytorch_utils import Conv1D

    layers = {id(m) for m in model.modules() if isinstance(m, (torch.nn.Linear, Conv1D))}
    return len(layers - {id(model.get_output_embeddings())})


def all_linear(model: Any) -> list[str] | str:
    """Return the full names that `all-linear` stands for, or PEFT's `all-linear` if it is the same.

    In a model with stacked experts these are the attention layers, because PEFT cannot tell the
    others from experts by name.
    """
    idle = idle_layers(model)
    names = [name for name in _adaptable(_linear_layers(model)) if name not in idle]
    if _stacked_experts(model):
        return [name for name in names if name.rpartition(".")[2] not in _TAKEN_FOR_EXPERTS]
    return names if len(names) < _count_linear_layers(model) else "all-linear"


def with_head(names: list[str] | str, model: Any) -> list[str]:
    """Return target names together with the full name of the output head.

    Raises:
        AdapterError: the model's output head is not a linear layer.
    """
    import torch

    name = head_name(model)
    if name is None or not isinstance(model.get_output_embeddings(), torch.nn.Linear):
        raise AdapterError(
            "lora.output_head=true: the output head of this model is not a linear layer, so it "
            "cannot have an adapter; remove the key."
        )
    layers = _adaptable(_linear_layers(model)) if isinstance(names, str) else names
    return list(dict.fromkeys([*layers, name]))


def head_name(model: Any) -> str | None:
    """Return the full name of the output head in the model, or None if there is none."""
    head = model.get_output_embeddings()
    return next((name for name, module in model.named_modules() if module is head), None)


def is_tied(model: Any) -> bool:
    """Return whether the output head has the same weight as the input embedding."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    weight = getattr(getattr(head, "base_layer", head), "weight", None)
    return weight is not None and weight is getattr(embedding, "weight", None)


def idle_layers(model: Any) -> set[str]:
    """Return the linear layers whose adapter would not take part in a training pass.

    The layers after a state-space model's scan are included on every device, because the GPU
    kernels read their weights directly. Any other layer is idle if no layer of its kind is called.
    """
    linear, called = _linear_layers(model), _called_layers(model)
    kinds = {name: _kind(model, name) for name in linear}
    used = {kinds[name] for name in linear if name in called}
    return {n for n in linear if kinds[n] not in used or _follows_scan(model, n)}


def _kind(model: Any, name: str) -> tuple[type, str]:
    """Return the class of the module that contains a layer, and the layer's name in that module."""
    parent, _, leaf = name.rpartition(".")
    return type(model.get_submodule(parent)), leaf


def _follows_scan(model: Any, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    parent_module = model.get_submodule(parent)
    return leaf == "out_proj" and hasattr(parent_module, "A_log") and hasattr(parent_module, "D")


def _called_layers(model: Any) -> set[str]:
    """Return the linear layers that are called in a training pass over a few tokens."""
    import torch

    called: set[str] = set()
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: called.add(name))
        for name in _linear_layers(model)
    ]
    was_training, device = model.training, model.device
    ids_1L = (
        torch.arange(1, _PROBE_TOKENS + 1, device=device)[None]
        % model.get_input_embeddings().weight.shape[0]
    )
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            model.train()(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L), use_cache=False)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return called


def _stacked_experts(model: Any) -> list[str]:
    """Return the name suffixes of expert weights that are stacked in one parameter."""
    names = (n for n, p in model.named_parameters() if p.dim() == 3 and "experts" in n.split("."))
    return sorted({".".join(name.split(".")[-3:]) for name in names})


def _experts_hint(model: Any) -> str:
    stacked = _stacked_experts(model)
    if not stacked:
        return ""
    return (
        "; its experts are stacked parameters, which can be adapted with "
        f"lora.extra.target_parameters=[{','.join(stacked)}]"
    )


def left_out(model: Any) -> list[str]:
    """Return the parts of a mixture-of-experts model that got no adapter, for display."""
    routers = {
        n.rpartition(".")[2] for n, _ in model.named_modules() if n.rpartition(".")[2] in _ROUTERS
    }
    names = {n for n, _ in model.named_modules() if n.rpartition(".")[2] == "experts"}
    adapted = [n.split(".") for n, m in model.named_modules() if hasattr(m, "lora_A")]
    if not names or any("experts" in parts for parts in adapted):
        return []
    dense = {
        n.rpartition(".")[2]
        for n in _linear_layers(model.get_base_model())
        if n.rpartition(".")[2] in _TAKEN_FOR_EXPERTS - _ROUTERS
    }
    return ["experts", *sorted(routers | dense)]
