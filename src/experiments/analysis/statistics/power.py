"""A spread between seeds in, what a number of seeds can show out, and how many would decide.

The chances are those of the findings of `comparing`, exact for normal differences: given the
sample deviation s, which is chi-distributed, the mean is normal and independent of it, so they are
an integral over s (K. F. Phillips, "Power of the two one-sided tests procedure in bioequivalence",
J. Pharmacokin. Biopharm. 18 (1990), for ties; the same integral with the other region for
differences).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_QUADRATURE = 4001
"""Points of the integral over s; the chances change by less than 1e-4 with twice as many."""
MOST_SEEDS = 1000
_LARGEST = 1e4
"""In deviations: 2 seeds find 18 with a power of 0.95."""
POWER = 0.8


@dataclass(frozen=True)
class Chances:
    """What a comparison over n seeds will find, as probabilities."""

    different: float
    """That it is called better or worse, in the direction of the true effect."""
    tied: float


def chances(effect: float, deviation: float, n: int, margin: float, alpha: float = 0.05) -> Chances:
    """Return how likely each finding is.

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
        ValueError: n below 2, or a deviation or a margin that is not above 0.
    """
    import numpy as np
    from scipy.special import ndtr

    if n < 2 or not deviation > 0 or not margin > 0:
        raise ValueError(f"n={n}, deviation={deviation}, margin={margin}: n >= 2, others above 0")
    error = deviation / math.sqrt(n)
    s = _quantiles_of_s(n)
    two_sided, one_sided = _quantiles_of_t(n, alpha)
    size = abs(effect)
    beyond = np.maximum(margin, two_sided * s * error)
    different = ndtr((size - beyond) / error)
    room = margin - one_sided * s * error
    tied = np.where(room > 0, ndtr((room - size) / error) - ndtr((-room - size) / error), 0.0)
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
    """Return Student's quantiles of a test of a difference (two-sided) and of a tie."""
    from scipy.stats import t

    return float(t.ppf(1 - alpha / 2, n - 1)), float(t.ppf(1 - alpha, n - 1))


def detectable_effect(
    deviation: float, n: int, alpha: float = 0.05, power: float = POWER
) -> float | None:
    """Return the smallest true difference that a t test over n seeds finds with this power.

    By the integral above: scipy's noncentral t, which `statsmodels.stats.power` uses, is NaN for
    some of the large effects that few seeds need.

    >>> round(detectable_effect(1.0, 5), 2)
    1.68

    Args:
        deviation: standard deviation of the paired differences, at least 0.
        n: number of seeds.
        alpha: level of the two-sided test.
        power: the wanted chance, above alpha and below 1.

    Returns:
        The effect in the unit of the deviation, None for fewer than 2 seeds.
    """
    if n < 2:
        return None
    from scipy.optimize import brentq
    from scipy.special import ndtr

    threshold = _quantiles_of_t(n, alpha)[0] * _quantiles_of_s(n)

    def missing(size: float) -> float:
        shift = size * math.sqrt(n)
        return float((ndtr(shift - threshold) + ndtr(-shift - threshold)).mean()) - power

    size = brentq(missing, 0.0, _LARGEST)
    return float(size) * deviation


def smallest_margin(
    deviation: float, n: int, alpha: float = 0.05, power: float = POWER
) -> float | None:
    """Return the smallest margin at which n seeds of equal arms are called tied with this power.

    >>> round(smallest_margin(1.0, 5, power=0.95), 1)
    2.0

    Args:
        deviation: standard deviation of the paired differences, at least 0.
        n: number of seeds.
        alpha: as in `compare`.
        power: the wanted chance, below 1.

    Returns:
        The margin in the unit of the deviation, None for fewer than 2 seeds.
    """
    if n < 2:
        return None
    from scipy.optimize import brentq

    found = brentq(lambda m: chances(0.0, 1.0, n, m, alpha).tied - power, 1e-3, _LARGEST)
    return float(found) * deviation


def seeds_to_decide(
    effect: float, deviation: float, margin: float, alpha: float = 0.05, power: float = POWER
) -> int | None:
    """Return the number of seeds in all that would decide, if the estimates are the truth.

    A guess, as the deviation is an estimate too: from 5 seeds it may be half or twice the true one.

    >>> seeds_to_decide(0.0, 1.0, margin=1.0)
    11

    Args:
        effect: the estimated mean difference, in the score's unit.
        deviation: the estimated standard deviation of the paired differences, at least 0.
        margin: as in `compare`.
        alpha: as in `compare`.
        power: the wanted chance that a finding is made.

    Returns:
        From 2 to MOST_SEEDS; None where more would be needed, as for an effect at the margin.
    """
    if deviation <= 0:
        return 2

    def decides(n: int) -> bool:
        found = chances(effect, deviation, n, margin, alpha)
        return found.different + found.tied >= power

    return _first(decides, 2, MOST_SEEDS)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest number from which a condition holds, None if not even at the last.

    By bisection; the chance of a finding grows with n, but for a small dip where few seeds call
    either side by luck.
    """
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
