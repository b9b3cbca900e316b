"""Intervals: known values, order, coverage of known distributions, and what pairing changes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from experiments.analysis.statistics import (
    Interval,
    items_interval,
    mean_interval,
    paired_difference,
    proportion_interval,
    ratio_values,
    verdict_words,
)

shares = st.lists(st.floats(0, 1), min_size=2, max_size=20)


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


def test_mean_interval_is_students_formula() -> None:
    # mean 2, s = 1, t(0.975, 2) = 4.30265 (any table): half width 4.30265 / sqrt(3)
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.estimate == 2.0 and found.n == 3 and found.over == "seeds"
    assert ends(found) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)


def test_wilson_interval_is_the_published_formula() -> None:
    # Closed form of Wilson (1927) with z = 1.959964
    z, n, p = 1.959963984540054, 10, 0.8
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert ends(proportion_interval(8, 10)) == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_intervals_are_those_of_scipy_stats_to_the_last_bit(confidence: float) -> None:
    for n in range(1, 40):
        for successes in range(n + 1):
            wanted = binomtest(successes, n).proportion_ci(confidence, method="wilson")
            found = proportion_interval(successes, n, confidence)
            assert ends(found) == (
                min(wanted.low, successes / n),
                max(wanted.high, successes / n),
            )
        values = [float(i % 7) for i in range(n + 1)]
        low, high = ends(mean_interval(values, confidence))
        error = float(np.std(values, ddof=1)) / math.sqrt(n + 1)
        assert (high - low) / 2 == pytest.approx(t.ppf((1 + confidence) / 2, n) * error)


def test_same_input_gives_the_same_interval() -> None:
    values = [0.1, 0.7, 0.30000000000000004, 0.2]
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values) == mean_interval(values[::-1])


def test_one_seed_has_no_interval() -> None:
    found = mean_interval([0.4])
    assert (found.estimate, found.low, found.high, found.n) == (0.4, None, None, 1)


def test_equal_values_give_an_interval_of_width_zero() -> None:
    found = mean_interval([0.1, 0.1, 0.1])
    assert ends(found) == (0.1, 0.1) and found.estimate == 0.1


def test_bounds_cut_the_interval_but_not_the_estimate() -> None:
    found = mean_interval([0.7, 0.9], bounds=(0, 1))
    assert found.high == 1.0 and found.estimate == pytest.approx(0.8)
    with pytest.raises(ValueError, match="leave the bounds"):
        mean_interval([0.7, 1.2], bounds=(0, 1))


def test_items_interval_chooses_wilson_only_for_zeros_and_ones() -> None:
    assert items_interval([0, 1, 1, 1]) == proportion_interval(3, 4)
    mixed = items_interval([0, 1, 1, 0.5])
    assert mixed.method == "student t" and mixed.over == "items"


def test_all_items_right_still_has_a_width() -> None:
    found = proportion_interval(20, 20)
    assert found.high == 1.0 and ends(found)[0] < 0.9


@given(shares)
def test_estimate_lies_between_its_ends(values: list[float]) -> None:
    for found in (mean_interval(values), items_interval(values), items_interval([0, *values])):
        low, high = ends(found)
        assert low <= found.estimate <= high


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_and_its_ends_stay_within_zero_and_one(pair: tuple[int, int]) -> None:
    found = proportion_interval(*pair)
    low, high = ends(found)
    assert 0 <= low <= found.estimate <= high <= 1


@given(shares, st.floats(0.5, 0.9))
def test_more_confidence_never_narrows(values: list[float], confidence: float) -> None:
    low, high = ends(mean_interval(values, confidence))
    wide_low, wide_high = ends(mean_interval(values, 0.99))
    assert wide_low <= low and high <= wide_high


def covered(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in map(ends, intervals)]))


def test_student_interval_covers_the_mean_of_a_normal_in_95_of_100() -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(1000, 3))
    # binomial standard error of 0.95 over 1,000 draws is 0.007: three of them
    assert covered([mean_interval(d.tolist()) for d in draws], 3.0) == pytest.approx(
        0.95, abs=0.021
    )


def test_wilson_interval_covers_a_share_near_one() -> None:
    hits = np.random.default_rng(0).binomial(100, 0.97, size=600)
    # Wilson oscillates around its level (Brown, Cai, DasGupta 2001, figure 5): 0.92-0.98
    assert 0.92 <= covered([proportion_interval(int(k), 100) for k in hits], 0.97) <= 0.98


def test_paired_interval_covers_the_difference() -> None:
    generator = np.random.default_rng(1)
    shared = generator.normal(0, 5, size=(1000, 4))
    a, b = (shared + generator.normal(m, 1, size=shared.shape) for m in (0.0, 0.5))
    found = [paired_difference(x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)]
    assert covered(found, 0.5) == pytest.approx(0.95, abs=0.021)


def test_pairing_matters() -> None:
    a, b = [0.1, 0.5, 0.9], [0.15, 0.56, 0.94]
    paired = paired_difference(a, b)
    shuffled = paired_difference(a, [b[2], b[0], b[1]])
    assert paired.estimate == pytest.approx(shuffled.estimate)
    assert verdict_words(paired, "maximize") == "better"
    assert verdict_words(shuffled, "maximize") == "not separable"


def test_ratio_values_give_the_token_mean_and_its_coverage() -> None:
    generator = np.random.default_rng(2)
    inside = []
    for _ in range(500):
        tokens = generator.integers(5, 50, size=100)
        nll = generator.gamma(tokens * 0.5, 1.0)  # 0.5 nats a token on average
        found = mean_interval(ratio_values(nll.tolist(), tokens.tolist()), over="items")
        assert found.estimate == pytest.approx(nll.sum() / tokens.sum())
        inside.append(found)
    assert covered(inside, 0.5) == pytest.approx(0.95, abs=0.03)  # three standard errors


def test_ratio_values_with_equal_weights_are_the_values() -> None:
    assert ratio_values([2.0, 4.0], [2, 2]) == [1.0, 2.0]


def test_difference_is_second_minus_first() -> None:
    assert paired_difference([0.0, 0.0], [1.0, 2.0]).estimate == 1.5


@pytest.mark.parametrize(
    ("low", "high", "direction", "words"),
    [
        (0.1, 0.3, "maximize", "better"),
        (0.1, 0.3, "minimize", "worse"),
        (-0.3, -0.1, "maximize", "worse"),
        (-0.3, -0.1, "minimize", "better"),
        (-0.1, 0.3, "maximize", "not separable"),
        (0.0, 0.3, "maximize", "not separable"),
        (0.0, 0.0, "minimize", "not separable"),
    ],
)
def test_verdict_follows_the_direction(low: float, high: float, direction: str, words: str) -> None:
    interval = Interval((low + high) / 2, low, high, 3, "seeds", "paired t")
    assert verdict_words(interval, direction) == words  # type: ignore[arg-type]


def test_seeds_that_agree_to_the_last_digit_are_no_proof() -> None:
    # 0.1 + 0.05 is not 0.15 in binary: the width is rounding, not exactly 0
    found = paired_difference([0.1, 0.2], [0.1 + 0.05, 0.2 + 0.05])
    assert ends(found) == pytest.approx((0.05, 0.05))
    assert verdict_words(found, "maximize") == "not separable"
    items = paired_difference([0.0] * 60, [1.0] * 60, over="items")
    assert verdict_words(items, "maximize") == "better"


def test_one_pair_is_no_verdict() -> None:
    assert verdict_words(paired_difference([0.1], [0.9]), "maximize") == "one seed"
    assert verdict_words(paired_difference([0.1], [0.9], over="items"), "maximize") == "one item"


def test_what_cannot_be_an_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="no values: an interval needs at least one"):
        mean_interval([])
    with pytest.raises(ValueError, match="not finite"):
        mean_interval([0.1, math.nan])
    with pytest.raises(ValueError, match="confidence 95: must be above 0 and below 1"):
        mean_interval([0.1, 0.2], 95)
    with pytest.raises(ValueError, match="3 of 2 is not a share"):
        proportion_interval(3, 2)
    with pytest.raises(ValueError, match="one of them above 0"):
        ratio_values([1.0], [0])
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        paired_difference([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="direction 'up'"):
        verdict_words(mean_interval([0.1]), "up")  # type: ignore[arg-type]
