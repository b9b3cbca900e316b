"""Compute bootstrap intervals over test items; the same seed gives the same interval.

Source: B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987), by
`scipy.stats.bootstrap(method="BCa")`.
"""

from collections.abc import Sequence

from experiments.analysis.statistics.intervals import (
    ROUNDING,
    Bounds,
    Interval,
    checked,
    within_mean,
)

RESAMPLES = 9_999
# Values that are resampled in memory at a time: 1,000 resamples of 5,000 items take 40 MB.
_VALUES_AT_A_TIME = 5_000_000


def bootstrap_interval(
    values: Sequence[float],
    seed: int = 0,
    confidence: float = 0.95,
    bounds: Bounds | None = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the mean over items and its BCa bootstrap interval.

    For items only: for as few values as there are seeds it is too narrow (use `mean_interval`).

    >>> bootstrap_interval([0.0, 1.0, 1.0, 0.5], seed=1) == bootstrap_interval(
    ...     [0.0, 1.0, 1.0, 0.5], seed=1
    ... )
    True

    Args:
        values: shape (n,), one per item. The interval depends on their order through the seed, so
            pass them in a fixed order, such as by id.
        seed: seed of the resamples.
        confidence: coverage probability of the interval, above 0 and below 1.
        bounds: the possible range of a mean, such as (0, 1); clips the interval.
        resamples: number of resampled means.

    Raises:
        ValueError: there is no value, one is not finite, or the confidence is outside (0, 1).
    """
    import numpy as np
    from scipy.stats import bootstrap

    data = checked(values, confidence)
    n, mean = len(data), within_mean(data)
    if n == 1:
        return Interval(mean, None, None, 1, "items", "none")
    if max(data) - min(data) < ROUNDING:
        return Interval(mean, mean, mean, n, "items", "bca bootstrap")
    found = bootstrap(
        (np.asarray(data),),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _VALUES_AT_A_TIME // n),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = min(float(found.low), mean), max(float(found.high), mean)
    if bounds:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high, n, "items", "bca bootstrap")


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Return the mean of b - a over the items that both runs scored, and its BCa interval.

    Args:
        a: shape (n,), the reference's score of each item.
        b: shape (n,), in the same order.
        seed: seed of the resamples.
        confidence: as in `bootstrap_interval`.

    Raises:
        ValueError: the lengths differ, or as `bootstrap_interval`.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired: align them first")
    return bootstrap_interval([y - x for x, y in zip(a, b, strict=True)], seed, confidence)
