"""Resolve `lora.match_params`: find the rank that gives a requested number of parameters."""

import dataclasses

from experiments.config.counting import UNCOUNTED, adapters_of
from experiments.config.geometry import Geometry
from experiments.config.lora_config import LoraConfig
from experiments.config.model_config import ModelConfig
from experiments.errors import ConfigError

MAX_RELATIVE_ERROR = 0.05
"""Largest relative error, as a share of the wanted number, that the nearest rank may have."""
# Keys of `lora.extra` with which more is trained than adapters of one rank.
_MORE_THAN_RANK = ("bias", "modules_to_save", "rank_pattern", *UNCOUNTED)


def rank(lora: LoraConfig, model: ModelConfig) -> int:
    """Return the rank whose number of trained parameters is nearest to `match_params`.

    Raises:
        ConfigError: the model's shape is not known, more is trained than the adapters, or no
            integer rank is near enough.
        AdapterError: a target module matches no linear layer.
    """
    target = lora.match_params
    assert target is not None, "asked only where it is set"
    shape = _shape(lora, model)
    count_1, count_2 = _trained_parameters(shape, lora, 1), _trained_parameters(shape, lora, 2)
    step = count_2 - count_1
    lower = 1 + max(0, target - count_1) // step if step else 1
    counts = {r: _trained_parameters(shape, lora, r) for r in (lower, lower + 1)}
    nearest = min(counts, key=lambda r: abs(counts[r] - target))
    if abs(counts[nearest] - target) > MAX_RELATIVE_ERROR * target:
        nearest_counts = " and ".join(f"{n:,} with lora.r={r}" for r, n in counts.items())
        raise ConfigError(
            f"lora.match_params={target} on model={model.label}: the nearest parameter counts are "
            f"{nearest_counts}, more than {MAX_RELATIVE_ERROR:.0%} off; set one of these ranks, or "
            "a count that a rank matches."
        )
    return nearest


def _shape(lora: LoraConfig, model: ModelConfig) -> Geometry:
    setting = f"lora.match_params={lora.match_params}"
    shape = model.geometry.shape()
    if shape is None or not shape.is_known:
        raise ConfigError(
            f"{setting} with model={model.label}: its parameters cannot be counted, because its "
            "config has no model.geometry of a supported architecture; set lora.r instead."
        )
    for key in _MORE_THAN_RANK:
        if lora.extra.get(key) not in (None, "none"):
            raise ConfigError(
                f"{setting} with lora.extra.{key}: the number of trained parameters then depends "
                "on more than one rank; set lora.r instead."
            )
    return shape


def _trained_parameters(shape: Geometry, lora: LoraConfig, r: int) -> int:
    return sum(adapter.parameters for adapter in adapters_of(shape, dataclasses.replace(lora, r=r)))
