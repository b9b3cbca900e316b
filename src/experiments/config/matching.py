"""Resolve `lora.match_params`: find the rank that gives a requested number of parameters."""

import dataclasses

from experiments.config.counting import UNCOUNTED, adapters_of
from experiments.config.geometry import Geometry
from experiments.config.lora_config import LoraConfig
from experiments.config.model_config import ModelConfig
from experiments.errors import ConfigError

MOST_OFF = 0.05
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
    wanted = lora.match_params
    assert wanted is not None, "asked only where it is set"
    shape = _shape(lora, model)
    first, second = _trained(shape, lora, 1), _trained(shape, lora, 2)
    step = second - first
    below = 1 + max(0, wanted - first) // step if step else 1
    counts = {r: _trained(shape, lora, r) for r in (below, below + 1)}
    nearest = min(counts, key=lambda r: abs(counts[r] - wanted))
    if abs(counts[nearest] - wanted) > MOST_OFF * wanted:
        found = " and ".join(f"{n:,} with lora.r={r}" for r, n in counts.items())
        raise ConfigError(
            f"lora.match_params={wanted} on model={model.label}: the nearest parameter counts are "
            f"{found}, more than {MOST_OFF:.0%} off; set one of these ranks, or a count that a "
            "rank matches."
        )
    return nearest


def _shape(lora: LoraConfig, model: ModelConfig) -> Geometry:
    given = f"lora.match_params={lora.match_params}"
    shape = model.geometry.whole()
    if shape is None or not shape.is_known:
        raise ConfigError(
            f"{given} with model={model.label}: its parameters cannot be counted, because its "
            "config has no model.geometry of a supported architecture; set lora.r instead."
        )
    for key in _MORE_THAN_RANK:
        if lora.extra.get(key) not in (None, "none"):
            raise ConfigError(
                f"{given} with lora.extra.{key}: the number of trained parameters then depends on "
                "more than one rank; set lora.r instead."
            )
    return shape


def _trained(shape: Geometry, lora: LoraConfig, r: int) -> int:
    return sum(one.parameters for one in adapters_of(shape, dataclasses.replace(lora, r=r)))
