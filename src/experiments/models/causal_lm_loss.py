"""Compute the NLL of each trained token of a causal language model without storing its logits.

The model runs through whatever wraps it (an adapter, mixed precision, several processes). A hook on
its head computes the loss from the hidden states and then passes only one position to the head.
An adapter on the head takes part (`vocabulary_tiles`). Nothing is assumed about the layers before
the head; operations after it (a scale, a softcap) are compared once with the model's own logits
before the method is used.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from experiments.models.linear_cross_entropy import IGNORED, Head, token_nll

# Names in model configs of operations on the logits after the head.
_CAPS = ("final_logit_softcapping", "logits_soft_cap")
_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_DIVISORS = ("logits_scaling",)
# Number of tokens in the comparison with the model's own logits.
_PROBE_TOKENS = 16
# Largest mean difference from the NLL of those logits, in nats: only rounding in fp32; in half
# precision, logits near 20 are rounded to steps of 0.1.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_TOLERANCE_HALF = 3e-2


@dataclass(frozen=True)
class ModelLoss:
    """How the loss of a model is computed."""

    reason: str | None = None
    """Why the loss needs the model's logits; None if it does not."""

    def __call__(self, model: Any, inputs: dict[str, Any], label_BL: Tensor) -> tuple[Tensor, Any]:
        """Return the NLL of each trained token in nats, row by row, and the model's outputs.

        The label of a position is the next token; a row's first token has no prediction and is left
        out. The outputs contain the logits of one position only, unless the loss needs all logits.

        Args:
            model: the model, including any wrappers.
            inputs: the model's keyword arguments, without labels.
            label_BL: token ids, -100 for tokens that are not trained.
        """
        next_BL = functional.pad(label_BL[:, 1:], (0, 1), value=IGNORED)
        if self.reason is None:
            nll_N, outputs = _loss_in_head(model, inputs, next_BL, keep_logits=False)
            if nll_N is not None:
                return nll_N, outputs
        outputs = model(**inputs)
        trained_BL = next_BL != IGNORED
        logits_NV = outputs.logits[trained_BL].float()
        return functional.cross_entropy(logits_NV, next_BL[trained_BL], reduction="none"), outputs


@dataclass(frozen=True)
class _HeadLayer:
    """A model's LM head, with its LoRA adapter if it has one."""

    module: Any
    """The module that the model calls: PEFT's layer around `linear`, or `linear` itself."""
    linear: torch.nn.Linear
    adapter: str | None = None
    """The name of the active adapter."""

    @property
    def update_VR(self) -> Tensor | None:
        """B of the adapter."""
        return None if self.adapter is None else self.module.lora_B[self.adapter].weight

    def widened(self, hidden_XH: Tensor) -> Tensor:
        """Return hidden states continued by A h times the adapter's scale, as PEFT computes it."""
        if self.adapter is None:
            return hidden_XH
        down, dropout = self.module.lora_A[self.adapter], self.module.lora_dropout[self.adapter]
        low_XR = down(dropout(hidden_XH.to(down.weight.dtype))) * self.module.scaling[self.adapter]
        return torch.cat([hidden_XH, low_XR.to(hidden_XH.dtype)], dim=1)


def of(model: Any) -> ModelLoss:
    """Return how to compute a model's loss: without logits, if that gives the same values."""
    layer = _head_layer(model)
    if layer is None:
        return ModelLoss(f"the output layer is not a plain linear layer ({_head_name(model)})")
    head = layer.linear
    was_training = model.training
    model.eval()
    ids_BL = (torch.arange(_PROBE_TOKENS, device=head.weight.device) + 1)[None] % len(head.weight)
    with torch.no_grad():
        probe = _probe(model, ids_BL)
    model.train(was_training)
    if probe is None:
        return ModelLoss("the forward pass does not call the output layer once for all positions")
    nll_N, logits_BLV = probe
    model_nll_N = functional.cross_entropy(
        logits_BLV[0, :-1].float(), ids_BL[0, 1:], reduction="none"
    )
    difference = float((nll_N - model_nll_N).abs().mean())
    if difference > _TOLERANCE.get(head.weight.dtype, _TOLERANCE_HALF):
        return ModelLoss(
            f"the model changes its logits in an unsupported way (the loss differs by "
            f"{difference:.2g} nats/token)"
        )
    return ModelLoss()


def _probe(model: Any, ids_BL: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the NLL of a few tokens and their logits, both from one forward pass."""
    next_BL = functional.pad(ids_BL[:, 1:], (0, 1), value=IGNORED)
    inputs = {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "use_cache": False}
    nll_N, outputs = _loss_in_head(model, inputs, next_BL, keep_logits=True)
    all_positions = outputs.logits.shape[:2] == ids_BL.shape
    return (nll_N, outputs.logits) if nll_N is not None and all_positions else None


def _loss_in_head(
    model: Any, inputs: dict[str, Any], next_BL: Tensor, *, keep_logits: bool
) -> tuple[Tensor | None, Any]:
    """Run the model and compute the loss in its head.

    The loss is None if the head is not called exactly once.
    """
    layer = _head_layer(model)
    assert layer is not None, "`of` has found it"
    losses: list[Tensor] = []

    def measure(_: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not arguments or arguments[0].shape[:-1] != next_BL.shape:
            return arguments
        hidden_XH = layer.widened(arguments[0].flatten(0, 1))
        head = _configured_head(model, layer)
        losses.append(token_nll(hidden_XH, head, next_BL.flatten().to(hidden_XH.device)))
        return arguments if keep_logits else (arguments[0][:, -1:], *arguments[1:])

    handle = layer.module.register_forward_pre_hook(measure)
    try:
        outputs = model(**inputs)
    finally:
        handle.remove()
    return losses[0] if len(losses) == 1 else None, outputs


def _configured_head(model: Any, layer: _HeadLayer) -> Head:
    """Return the head with the operations on its logits that the model's config describes."""
    config = _unwrapped(model).config.get_text_config()

    def first_value(names: tuple[str, ...]) -> float | None:
        values = (getattr(config, name, None) for name in names)
        return next((float(value) for value in values if value is not None), None)

    factor, divisor = first_value(_FACTORS), first_value(_DIVISORS)
    scale = factor if factor is not None else 1 / divisor if divisor else 1.0
    linear = layer.linear
    return Head(linear.weight, linear.bias, scale, first_value(_CAPS), layer.update_VR)


def _unwrapped(model: Any) -> Any:
    """Return the language model without its wrappers."""
    model = getattr(model, "module", model)  # wrapped for several processes
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _head_layer(model: Any) -> _HeadLayer | None:
    """Return the model's active LM head, or None if its logits are not those of a `Head`.

    With PEFT's `modules_to_save`, the trained copy is the head. A quantised head stores its weight
    in another form.
    """
    head = _unwrapped(model).get_output_embeddings()
    copies = getattr(head, "modules_to_save", None)
    if copies is not None:
        active = [] if head.disable_adapters else [a for a in head.active_adapters if a in copies]
        head = copies[active[0]] if active else head.original_module
    module, adapter = head, None
    if hasattr(head, "lora_A"):
        if not _is_plain_lora(head):
            return None
        active = [] if head.disable_adapters else [a for a in head.active_adapters if a in head.r]
        module, head, adapter = head, head.base_layer, active[0] if active else None
    if not isinstance(head, torch.nn.Linear) or type(head).forward is not torch.nn.Linear.forward:
        return None
    return _HeadLayer(module, head, adapter) if head.weight.is_floating_point() else None


def _is_plain_lora(layer: Any) -> bool:
    """Return whether a layer with adapters computes x W' + scale x (A x) B' and nothing else."""
    from peft.tuners.lora import Linear

    active = [name for name in layer.active_adapters if name in layer.r]
    return (
        type(layer) is Linear
        and not layer.merged
        and not layer.lora_variant
        and len(active) <= 1
        and not any(layer.lora_bias.get(name, False) for name in active)
    )


def _head_name(model: Any) -> str:
    kind = type(_unwrapped(model).get_output_embeddings())
    return f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
