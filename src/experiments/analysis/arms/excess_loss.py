"""Compute the excess loss of a tuned arm at a learning rate other than its best.

The excess loss is measured on the validation split, on which the learning rate was
chosen. Between the neighbours of the best tried rate it is that of the fitted parabola over its
minimum: an interpolated chord lies above a curve, and would charge a rule that names the optimum
itself with more than half a percent. As an excess is a square, the interval is that of its root,
the distance from the optimum times the root of curvature over lowest loss, by the jackknife.
Further out, the loss is compared with that of the best tried rate, paired by seed, at a tried rate
or between the two around the rate: on a curve with one minimum it lies between theirs.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from experiments.analysis import statistics
from experiments.analysis.arms.rate_choice import Tuned
from experiments.analysis.arms.rate_optimum import RateFit, fit_rates
from experiments.analysis.arms.reasons import Reason
from experiments.analysis.statistics import Interval, MeanEstimate

Method = Literal["lora", "full"]

EXPONENTS = {"llama": 0.781, "qwen": 0.0775}
"""Exponents of the hidden-size formula by model family."""
_BASE_RATE, _BASE_HIDDEN_SIZE, _LORA_FACTOR = 5e-5, 2000, 10.0


@dataclass(frozen=True)
class ExcessLoss:
    """The cost of training at another learning rate than the best one."""

    rate: float
    nats: Interval | None
    """Loss there minus the lowest loss; None if unknown."""
    relative: float | None
    """The same, divided by the lowest loss; infinite if runs diverge."""
    interpolated: bool
    reasons: tuple[Reason, ...] = ()
    seeds: int = 0
    """Number of seeds that were run at the learning rates that the estimate comes from."""
    root: MeanEstimate | None = None
    """Signed root of `relative`, if the rate is between the neighbours of the best tried one."""


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
    """Return the cost of a learning rate against the best one."""
    if tuned.best is None:
        return ExcessLoss(rate, None, None, False, tuned.reasons)
    fit = fit_rates(tuned.losses())
    if fit is not None and fit.rates[0] < rate < fit.rates[-1]:
        return _fitted(fit, rate, tuned)
    return _against_best(tuned, tuned.best, rate)


def excess_root(fit: RateFit, rate: float) -> MeanEstimate | None:
    """Return the signed root of the excess loss over the lowest loss of a fit.

    Returns:
        The estimate, negative below the optimum. None if the fit's lowest loss is not above 0.
    """
    import numpy as np

    a, b, c = fit.coefficients.T
    lowest = c - b**2 / (4 * a)
    if not (lowest > 0).all():
        return None
    roots = (math.log10(rate) + b / (2 * a)) * np.sqrt(a / lowest)
    overall, *left_out = roots.tolist()
    if not left_out:
        return MeanEstimate(overall, 0.0, 1, method="none")
    shift = fit.log_rate().systematic_error * math.sqrt(float(a[0] / lowest[0]))
    return replace(statistics.jackknife_estimate(overall, left_out), systematic_error=shift)


def _fitted(fit: RateFit, rate: float, tuned: Tuned) -> ExcessLoss:
    found = excess_root(fit, rate)
    if found is None:
        return _against_best(tuned, fit.rates[1], rate)
    a, b, c = (float(value) for value in fit.coefficients[0])
    lowest, relative, interval = c - b**2 / (4 * a), found.estimate**2, found.interval()
    low, high = interval.low, interval.high
    if low is not None and high is not None:
        nearest = 0.0 if low <= 0 <= high else min(low**2, high**2)
        low, high = nearest * lowest, max(low**2, high**2) * lowest
    nats = Interval(relative * lowest, low, high, found.seeds, "seeds", found.method)
    interpolated = rate not in fit.rates
    return ExcessLoss(rate, nats, relative, interpolated, seeds=found.seeds, root=found)


def _against_best(tuned: Tuned, best: float, rate: float) -> ExcessLoss:
    """Return the excess over the best tried rate, by the tried rates at or around the rate."""
    losses = {point.rate: point.losses for point in tuned.curve}
    below = max((r for r in losses if r <= rate), default=None)
    above = min((r for r in losses if r >= rate), default=None)
    if below is None or above is None:
        low, high = min(losses), max(losses)
        text = f"the learning rate {rate:.3g} is outside the tried range {low:.3g} to {high:.3g}"
        return ExcessLoss(rate, None, None, False, (Reason("outside_grid", text),))
    interpolated = below != above
    seeds = sorted(set(losses[best]) & set(losses[below]) & set(losses[above]))
    if not seeds:
        text = f"no seed was run at both learning rate {best:.3g} and around {rate:.3g}"
        return ExcessLoss(rate, None, None, interpolated, (Reason("unequal_seeds", text),))
    if not all(math.isfinite(losses[end][s]) for end in (below, above) for s in seeds):
        return ExcessLoss(rate, None, math.inf, interpolated, seeds=len(seeds))
    reference = [losses[best][s] for s in seeds]
    ends = [
        statistics.paired_difference(reference, [losses[end][s] for s in seeds])
        for end in (below, above)
    ]
    share = math.log10(rate / below) / math.log10(above / below) if interpolated else 0.0
    estimate = (1 - share) * ends[0].estimate + share * ends[1].estimate
    near, far = sorted(ends, key=lambda end: end.estimate)
    nats = replace(ends[0], estimate=estimate, low=near.low, high=far.high)
    relative = estimate / (math.fsum(reference) / len(reference))
    return ExcessLoss(rate, nats, relative, interpolated, seeds=len(seeds))
