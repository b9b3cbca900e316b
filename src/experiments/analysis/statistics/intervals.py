"""Compute intervals of scores and of paired differences.

Every interval records what it is computed over. An interval over seeds covers the variation that
another seed would cause. One over items covers the variation due to other test rows, but not the
variation between seeds.

Sources: Student, "The probable error of a mean", Biometrika 6 (1908), quantiles from
`scipy.special`; E. B. Wilson, "Probable inference, the law of succession, and statistical
inference", JASA 22 (1927), as `scipy.stats.binomtest(...).proportion_ci("wilson")` computes it
(importing `scipy.stats` would take longer than computing all intervals of a run);
W. G. Cochran, "Sampling Techniques" (3rd ed. 1977), section 6.4, for a ratio of two means.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Over = Literal["seeds", "items", "seeds and rows"]
Direction = Literal["maximize", "minimize"]
Bounds = tuple[float, float]

ROUNDING = 1e-9
"""Intervals narrower than this count as having no width: the values differ by rounding only."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval."""

    estimate: float
    low: float | None
    """Lower end; None if there are too few values for an interval."""
    high: float | None
    n: int
    """Number of seeds or items."""
    over: Over
    method: str
    """`student t`, `wilson`, `paired t`, `crossed t`, `jackknife t` or `none`."""


def mean_interval(
    values: Sequence[float],
    confidence: float = 0.95,
    over: Over = "seeds",
    bounds: Bounds | None = None,
) -> Interval:
    """Return the mean and its Student t interval (Student 1908), mean ± t(n-1) · s / sqrt(n).

    >>> mean_interval([0.5])
    Interval(estimate=0.5, low=None, high=None, n=1, over='seeds', method='none')

    Args:
        values: shape (n,), finite, one per seed or item, in any order.
        confidence: coverage probability of the interval, above 0 and below 1.
        over: what each value belongs to, a seed or an item.
        bounds: the possible range of a mean, such as (0, 1) for a proportion; clips the interval.

    Raises:
        ValueError: there is no value, a value is not finite or outside the bounds, or the
            confidence is outside (0, 1).
    """
    data = _checked(values, confidence)
    if bounds and not (bounds[0] <= min(data) and max(data) <= bounds[1]):
        raise ValueError(f"values from {min(data)} to {max(data)} leave the bounds {bounds}")
    n, mean = len(data), _within_mean(data)
    if n == 1:
        return Interval(mean, None, None, 1, over, "none")
    from scipy.special import stdtrit

    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in data) / (n - 1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    low, high = mean - half, mean + half
    if bounds:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high, n, over, "student t")


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return a proportion of items and its score interval (Wilson 1927), which stays in [0, 1].

    >>> proportion_interval(8, 10).estimate
    0.8

    Raises:
        ValueError: not 0 <= successes <= n, n is below 1, or the confidence is outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a share: 0 <= successes <= n and n >= 1")
    _checked([0.0], confidence)
    from scipy.special import ndtri

    share = successes / n
    z = float(ndtri(0.5 + 0.5 * confidence))
    denominator = 2 * (n + z**2)
    centre = (2 * n * share + z**2) / denominator
    half = z / denominator * math.sqrt(4 * n * share * (1 - share) + z**2)
    low = 0.0 if successes == 0 else min(centre - half, share)
    high = 1.0 if successes == n else max(centre + half, share)
    return Interval(share, low, high, n, "items", "wilson")


def items_interval(
    values: Sequence[float], confidence: float = 0.95, bounds: Bounds | None = None
) -> Interval:
    """Return the mean over the items of one run, with its interval.

    The interval is Wilson's if all scores are 0 or 1, else Student's t interval.

    Args:
        values: shape (n,), one score per item.
        confidence: as in `mean_interval`.
        bounds: as in `mean_interval`.

    Raises:
        ValueError: as `mean_interval`.
    """
    data = _checked(values, confidence)
    if set(data) <= {0.0, 1.0}:
        return proportion_interval(round(sum(data)), len(data), confidence)
    return mean_interval(data, confidence, "items", bounds)


def paired_difference(
    a: Sequence[float], b: Sequence[float], over: Over = "seeds", confidence: float = 0.95
) -> Interval:
    """Return the mean of b - a and its Student t interval, from the n differences (Student 1908).

    Effects that both members of a pair share (of the seed or the item) cancel, so the interval is
    narrower than one from two separate means if the paired values are positively correlated.

    >>> paired_difference([0.25], [0.75])
    Interval(estimate=0.5, low=None, high=None, n=1, over='seeds', method='none')

    Args:
        a: shape (n,), the reference.
        b: shape (n,), in the same order: b[i] is for the same seed or item as a[i].
        over: what a pair belongs to, a seed or an item.
        confidence: as in `mean_interval`.

    Raises:
        ValueError: the lengths differ, or as `mean_interval`.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired: align them first")
    interval = mean_interval([y - x for x, y in zip(a, b, strict=True)], confidence, over)
    method = "none" if interval.n == 1 else "paired t"
    return Interval(interval.estimate, interval.low, interval.high, interval.n, over, method)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return McNemar's exact two-sided p-value for two runs that were scored on the same items.

    The null hypothesis is that both runs solve the same proportion. Items that both runs or neither
    run solves carry no information. Each other item is solved by A or by B with probability 1/2
    under the null hypothesis, so p is twice the smaller binomial tail, at most 1
    (Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947); exact form as `statsmodels.stats.contingency_tables
    .mcnemar(exact=True)`).

    >>> mcnemar_exact(0, 5)
    0.0625

    Args:
        only_a: number of items that only the first run solves.
        only_b: number of items that only the second run solves.

    Raises:
        ValueError: a count is below 0.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"{only_a} and {only_b} are not counts of items: both must be at least 0")
    if only_a + only_b == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return min(1.0, float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue))


def ratio_values(sums: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return one value per item whose mean is sum(sums) / sum(weights), for the functions above.

    A mean per token gives long rows more weight, so it is not the mean of row means. With R the
    ratio and w the weights, the values R + (sums - R · w) / mean(w) have mean R, and their variance
    gives the standard error of R to first order (Cochran 1977, equation 6.13).

    >>> ratio_values([6.0, 1.0], [3, 1])
    [2.125, 1.375]

    Args:
        sums: shape (n,), for example the summed NLL of each row in nats.
        weights: shape (n,), at least 0, for example the trained tokens of each row.

    Raises:
        ValueError: the lengths differ, a weight is negative, or none is above 0.
    """
    if len(sums) != len(weights):
        raise ValueError(f"{len(sums)} sums and {len(weights)} weights: one of each per item")
    total = math.fsum(weights)
    if not total > 0 or min(weights) < 0:
        raise ValueError("the weights of a ratio must be at least 0, and one of them above 0")
    ratio, mean = math.fsum(sums) / total, total / len(weights)
    return [ratio + (x - ratio * w) / mean for x, w in zip(sums, weights, strict=True)]


def verdict_words(difference: Interval, direction: Direction) -> str:
    """Return the verdict that an interval of a difference to a reference supports.

    >>> verdict_words(Interval(0.1, 0.05, 0.15, 3, "seeds", "paired t"), "minimize")
    'worse'

    Returns:
        "better", "worse", "not separable", or for a single pair "one seed" ("one item"). The result
        is "not separable" if the interval contains 0, or if all seeds have exactly the same
        difference: scores of n test rows are multiples of 1/n, so a few seeds can agree by chance,
        and a deviation of 0 would turn that into certainty.

    Raises:
        ValueError: the direction is neither `maximize` nor `minimize`.
    """
    if direction not in ("maximize", "minimize"):
        raise ValueError(f"direction '{direction}': it is 'maximize' or 'minimize'")
    if difference.n == 1:
        return f"one {difference.over.removesuffix('s')}"
    low, high = difference.low, difference.high
    if low is None or high is None or low <= 0 <= high:
        return "not separable"
    if difference.over != "items" and high - low < ROUNDING:
        return "not separable"
    return "better" if (low > 0) == (direction == "maximize") else "worse"


def _within_mean(data: Sequence[float]) -> float:
    """Return the mean, clipped to the range of the values so that rounding cannot exceed it."""
    return min(max(math.fsum(data) / len(data), min(data)), max(data))


def _checked(values: Sequence[float], confidence: float) -> list[float]:
    """Return the values as floats.

    Raises:
        ValueError: there is no value, one is not finite, or the confidence is outside (0, 1).
    """
    data = [float(value) for value in values]
    if not data:
        raise ValueError("no values: an interval needs at least one")
    if not all(map(math.isfinite, data)):
        raise ValueError("a value is not finite, so there is no interval")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: must be above 0 and below 1, such as 0.95")
    return data
