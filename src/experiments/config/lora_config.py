"""Schema of `lora`: where adapters are attached and how large they are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from experiments.config.value_checks import at_least, one_of

LORA_METHODS = ("lora", "none")
ALPHA_RULES = ("const", "r", "2r")
INITIALISATIONS = ("default", "gaussian", "olora", "orthogonal", "pissa")
DEFAULT_ALPHA = 32


@dataclass
class LoraConfig:
    """Where LoRA adapters are attached and how large they are."""

    label: str = "lora"
    """Name shown in tables."""
    method: str = "lora"
    """`lora`, or `none` for full fine-tuning."""
    target_modules: Any = "all-linear"
    """`all-linear` (every linear layer except the LM head) or a list of module names."""
    output_head: bool | None = None
    """Also attach an adapter to the output head (`lm_head`); null = only if target_modules names
    it."""
    r: int | None = None
    """LoRA rank; null = from `match_params`, else the model's recipe, else 16."""
    match_params: int | None = None
    """Instead of `r`: use the rank with this many trained parameters, counted from
    model.geometry."""
    lora_alpha: float | None = None
    """LoRA alpha; null = from `alpha_rule`. The update is scaled by alpha/r, for rsLoRA
    alpha/sqrt(r)."""
    alpha_rule: str = "const"
    """`const` (32 at every rank), `r` or `2r`."""
    lora_dropout: float = 0.0
    """Dropout on the adapter's input, 0-1."""
    use_dora: bool = False
    use_rslora: bool = False
    init_lora_weights: str = "default"
    """`default` (B = 0), `gaussian`, `olora`, `orthogonal` or `pissa`."""
    loraplus_lr_ratio: float | None = None
    """LoRA+: ratio of the learning rate of B to that of A (trainer.learning_rate); null = 1."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any other field of peft.LoraConfig; names that PEFT does not know are rejected."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each illegal value."""
        yield from one_of("lora.method", self.method, LORA_METHODS)
        yield from one_of("lora.alpha_rule", self.alpha_rule, ALPHA_RULES)
        yield from one_of("lora.init_lora_weights", self.init_lora_weights, INITIALISATIONS)
        yield from at_least("lora.r", self.r, 1)
        yield from at_least("lora.match_params", self.match_params, 1)
        if self.r is not None and self.match_params is not None:
            yield f"lora.r={self.r} and lora.match_params={self.match_params}: set only one"
        if not 0 <= self.lora_dropout < 1:
            yield f"lora.lora_dropout={self.lora_dropout}: must be at least 0 and below 1"
        if self.lora_alpha is not None and not self.lora_alpha > 0:
            yield f"lora.lora_alpha={self.lora_alpha}: must be above 0"
        if self.loraplus_lr_ratio is not None and not 0 < self.loraplus_lr_ratio < math.inf:
            yield (
                f"lora.loraplus_lr_ratio={self.loraplus_lr_ratio}: must be above 0, for example "
                "16; null = 1"
            )
        by_rule = {"r": self.r, "2r": self.r and 2 * self.r}.get(self.alpha_rule, self.lora_alpha)
        if self.lora_alpha is not None and self.lora_alpha != by_rule:
            yield (
                f"lora.lora_alpha={self.lora_alpha} and lora.alpha_rule={self.alpha_rule}: set "
                "only one"
            )
        targets = self.target_modules
        if not (targets == "all-linear" or (isinstance(targets, list) and targets)):
            yield (
                f"lora.target_modules={targets}: must be 'all-linear' or a list of module names "
                "such as [q_proj,v_proj]"
            )
        if self.method == "none":
            set_keys = [
                k
                for k in ("r", "match_params", "lora_alpha", "loraplus_lr_ratio")
                if getattr(self, k) is not None
            ]
            set_keys += [
                k
                for k in ("output_head", "use_dora", "use_rslora", "lora_dropout", "extra")
                if getattr(self, k)
            ]
            for key in set_keys:
                yield f"lora.{key} is set with lora=none: full fine-tuning has no adapter"

    @property
    def scale(self) -> float:
        """Factor on B·A: alpha/r (LoRA, arXiv 2106.09685 section 4.1) or alpha/sqrt(r) (rsLoRA)."""
        assert self.r is not None and self.lora_alpha is not None, "config.load resolves both"
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)
