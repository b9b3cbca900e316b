"""Compute the excess loss of a tuned arm at a learning rate other than its best.

The excess loss (regret) is measured on the validation split, on which the learning rate was
chosen. Between two tried learning rates the loss is interpolated linearly in log10. The
interpolation is above a convex curve, so the regret of a rule is slightly overestimated. Outside
the tried learning rates it is unknown.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.analysis import statistics
from experiments.analysis.arms.rate_choice import Tuned
from experiments.analysis.arms.reasons import Reason
from experiments.analysis.statistics import Interval

Method = Literal["lora", "full"]

EXPONENTS = {"llama": 0.781, "qwen": 0.0775}
"""Exponents of the hidden-size formula by model family."""
_BASE_RATE, _BASE_HIDDEN_SIZE, _LORA_FACTOR = 5e-5, 2000, 10.0


@dataclass(frozen=True)
class ExcessLoss:
    """The cost of training at another learning rate than the best one."""

    rate: float
    nats: Interval | None
    """Loss there minus loss at the best learning rate, paired by seed; None if unknown."""
    relative: float | None
    """The same, divided by the loss at the best learning rate; infinite if runs diverge."""
    interpolated: bool
    reasons: tuple[Reason, ...] = ()
    seeds: int = 0
    """Number of seeds that were run at both learning rates."""


def ten_times(full_rate: float) -> float:
    """Return the LoRA learning rate by the rule of thumb: ten times that of full fine-tuning.

    J. Schulman et al., "LoRA Without Regret" (2025), doi 10.64434/tml.20250929, section "LoRA
    hyperparameters"; the rule is stated for alpha = 32, a constant learning rate and B = 0 at the
    start.
    """
    return _LORA_FACTOR * full_rate


def ten_times_of(reference: Tuned) -> float | None:
    """Return ten times an arm's fitted optimum, or ten times its best tried one without a fit."""
    if reference.best is None:
        return None
    fitted = reference.optimum
    return ten_times(reference.best if fitted is None else fitted.estimate)


def hidden_size_rate(hidden: int, family: str, method: Method = "lora") -> float:
    """Return 5e-5 · 10 · (2000 / hidden)^p, without the 10 for full fine-tuning.

    The form is printed in "LoRA Without Regret"; its numbers are from `get_lr` in
    thinking-machines-lab/tinker-cookbook, `hyperparam_utils.py`, at 9dfcc3a2.

    >>> f"{hidden_size_rate(1024, 'qwen'):.3g}"
    '0.000527'

    Args:
        hidden: hidden size of the model.
        family: `llama` or `qwen`; the formula has no exponent for others.
        method: `lora` or `full`.

    Raises:
        ValueError: the family is unknown, or the hidden size is below 1.
    """
    if family not in EXPONENTS or hidden < 1:
        raise ValueError(
            f"hidden={hidden}, family={family}: hidden must be at least 1, family in {[*EXPONENTS]}"
        )
    factor = _LORA_FACTOR if method == "lora" else 1.0
    return float(_BASE_RATE * factor * (_BASE_HIDDEN_SIZE / hidden) ** EXPONENTS[family])


def excess_loss(tuned: Tuned, rate: float) -> ExcessLoss:
    """Return the cost of a learning rate against the best one, over the seeds that both have."""
    if tuned.best is None:
        return ExcessLoss(rate, None, None, False, tuned.reasons)
    losses = {point.rate: point.losses for point in tuned.curve}
    best_losses, losses_at_rate = losses[tuned.best], _interpolated_losses(losses, rate)
    if losses_at_rate is None:
        low, high = min(losses), max(losses)
        text = f"the learning rate {rate:.3g} is outside the tried range {low:.3g} to {high:.3g}"
        return ExcessLoss(rate, None, None, False, (Reason("outside_grid", text),))
    interpolated = rate not in losses
    seeds = sorted(set(best_losses) & set(losses_at_rate))
    if not seeds:
        text = f"no seed was run at both learning rate {tuned.best:.3g} and around {rate:.3g}"
        return ExcessLoss(rate, None, None, interpolated, (Reason("unequal_seeds", text),))
    if not all(math.isfinite(losses_at_rate[seed]) for seed in seeds):
        return ExcessLoss(rate, None, math.inf, interpolated, seeds=len(seeds))
    reference = [best_losses[seed] for seed in seeds]
    nats = statistics.paired_difference(reference, [losses_at_rate[seed] for seed in seeds])
    relative = nats.estimate / (math.fsum(reference) / len(reference))
    return ExcessLoss(rate, nats, relative, interpolated, seeds=len(seeds))


def _interpolated_losses(
    losses: Mapping[float, Mapping[int, float]], rate: float
) -> dict[int, float] | None:
    """Return the loss of each seed at a learning rate, interpolated; None outside tried ones."""
    if rate in losses:
        return dict(losses[rate])
    below = max((r for r in losses if r < rate), default=None)
    above = min((r for r in losses if r > rate), default=None)
    if below is None or above is None:
        return None
    share = math.log10(rate / below) / math.log10(above / below)
    ends = losses[below], losses[above]
    shared = set(ends[0]) & set(ends[1])
    return {seed: (1 - share) * ends[0][seed] + share * ends[1][seed] for seed in sorted(shared)}
