"""Compute what a number of seeds can detect from their spread, and how many would decide.

The probabilities are those of the findings in `comparing`, exact for normal differences. Given
the sample deviation s, which is chi-distributed, the mean is normal and independent of s, so the
probabilities are integrals over s (K. F. Phillips, "Power of the two one-sided tests procedure in
bioequivalence", J. Pharmacokin. Biopharm. 18 (1990), for ties; the same integral with the other
region for differences).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_QUADRATURE = 4001
"""Quadrature points of the integral over s; doubling them changes results by less than 1e-4."""
MOST_SEEDS = 1000
_LARGEST = 1e4
"""Largest effect considered, in deviations: 2 seeds detect 18 with a power of 0.95."""
POWER = 0.8


@dataclass(frozen=True)
class Chances:
    """Probabilities of the findings of a comparison over n seeds."""

    different: float
    """Probability of being called better or worse, in the direction of the true effect."""
    tied: float


def chances(effect: float, deviation: float, n: int, margin: float, alpha: float = 0.05) -> Chances:
    """Return the probability of each finding.

    >>> found = chances(0.0, 1.0, n=5, margin=2.5)
    >>> round(found.tied, 2)
    1.0

    Args:
        effect: the true mean difference, in the score's unit.
        deviation: standard deviation of the paired differences, above 0.
        n: number of seeds, at least 2.
        margin: as in `compare`.
        alpha: as in `compare`.

    Raises:
        ValueError: n is below 2, or the deviation or the margin is not above 0.
    """
    import numpy as np
    from scipy.special import ndtr

    if n < 2 or not deviation > 0 or not margin > 0:
        raise ValueError(f"n={n}, deviation={deviation}, margin={margin}: n >= 2, others above 0")
    error = deviation / math.sqrt(n)
    s = _quantiles_of_s(n)
    two_sided, one_sided = _quantiles_of_t(n, alpha)
    magnitude = abs(effect)
    threshold = np.maximum(margin, two_sided * s * error)
    different = ndtr((magnitude - threshold) / error)
    tie_limit = margin - one_sided * s * error
    tied = np.where(
        tie_limit > 0,
        ndtr((tie_limit - magnitude) / error) - ndtr((-tie_limit - magnitude) / error),
        0.0,
    )
    return Chances(float(different.mean()), float(tied.mean()))


@functools.cache
def _quantiles_of_s(n: int) -> Any:
    """Return equally likely values of s / sigma, shape (_QUADRATURE,): s²(n-1)/σ² is chi²(n-1)."""
    import numpy as np
    from scipy.stats import chi2

    levels = (np.arange(_QUADRATURE) + 0.5) / _QUADRATURE
    return np.sqrt(chi2.ppf(levels, n - 1) / (n - 1))


@functools.cache
def _quantiles_of_t(n: int, alpha: float) -> tuple[float, float]:
    """Return Student's t quantiles for the test of a difference (two-sided) and of a tie."""
    from scipy.stats import t

    return float(t.ppf(1 - alpha / 2, n - 1)), float(t.ppf(1 - alpha, n - 1))


def detectable_effect(
    deviation: float, n: int, alpha: float = 0.05, power: float = POWER
) -> float | None:
    """Return the smallest true difference that a t test over n seeds detects with this power.

    Uses the integral over s instead of scipy's noncentral t, which `statsmodels.stats.power` uses
    and which is NaN for some of the large effects that few seeds need.

    >>> round(detectable_effect(1.0, 5), 2)
    1.68

    Args:
        deviation: standard deviation of the paired differences, at least 0.
        n: number of seeds.
        alpha: level of the two-sided test.
        power: the desired probability of detection, above alpha and below 1.

    Returns:
        The effect in the unit of the deviation, or None for fewer than 2 seeds.
    """
    if n < 2:
        return None
    from scipy.optimize import brentq
    from scipy.special import ndtr

    threshold = _quantiles_of_t(n, alpha)[0] * _quantiles_of_s(n)

    def power_gap(size: float) -> float:
        shift = size * math.sqrt(n)
        return float((ndtr(shift - threshold) + ndtr(-shift - threshold)).mean()) - power

    size = brentq(power_gap, 0.0, _LARGEST)
    return float(size) * deviation


def seeds_to_decide(
    effect: float, deviation: float, margin: float, alpha: float = 0.05, power: float = POWER
) -> int | None:
    """Return the total number of seeds that would decide, if the estimates were the true values.

    This is a rough guess: a deviation estimated from 5 seeds may be half or twice the true one.

    >>> seeds_to_decide(0.0, 1.0, margin=1.0)
    11

    Args:
        effect: the estimated mean difference, in the score's unit.
        deviation: the estimated standard deviation of the paired differences, at least 0.
        margin: as in `compare`.
        alpha: as in `compare`.
        power: the desired probability of any finding.

    Returns:
        From 2 to MOST_SEEDS, or None if more would be needed, as for an effect at the margin.
    """
    if deviation <= 0:
        return 2

    def decides(n: int) -> bool:
        probabilities = chances(effect, deviation, n, margin, alpha)
        return probabilities.different + probabilities.tied >= power

    return _first(decides, 2, MOST_SEEDS)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest number from which a condition is true, or None if it is never true.

    Uses bisection. The probability of a finding grows with n, except for a small dip where few
    seeds call either side by chance.
    """
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
