"""Bootstrap intervals over items: seeded, ordered, and of the coverage they claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.analysis.statistics import (
    Interval,
    bootstrap_interval,
    mean_interval,
    paired_bootstrap,
)


def test_the_same_seed_gives_the_same_interval_and_another_seed_a_near_one() -> None:
    values = np.random.default_rng(0).gamma(1.0, 1.0, 60).tolist()
    one = bootstrap_interval(values, seed=3)
    assert one == bootstrap_interval(values, seed=3)
    other = bootstrap_interval(values, seed=4)
    assert other != one
    assert other.low == pytest.approx(one.low, abs=0.05)
    assert (one.over, one.method, one.n) == ("items", "bca bootstrap", 60)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.integers(0, 3))
@settings(max_examples=20)
def test_the_estimate_lies_between_its_ends_and_within_the_bounds(
    values: list[float], seed: int
) -> None:
    found = bootstrap_interval(values, seed, bounds=(0, 1), resamples=200)
    assert found.low is not None and found.high is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_items_that_are_all_the_same_have_no_width() -> None:
    assert bootstrap_interval([0.1, 0.1, 0.1]).high == 0.1
    assert bootstrap_interval([0.4]) == Interval(0.4, None, None, 1, "items", "none")


def test_the_paired_bootstrap_is_of_second_minus_first() -> None:
    found = paired_bootstrap([0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0])
    assert found.estimate == 0.5
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        paired_bootstrap([0.1, 0.2], [0.1])


def coverage_over_items(items: int, sets: int, resamples: int) -> float:
    generator = np.random.default_rng(7)
    inside = 0
    for values in generator.gamma(0.5, 2.0, (sets, items)):  # mean 1, very skewed
        found = bootstrap_interval(values.tolist(), resamples=resamples)
        assert found.low is not None and found.high is not None
        inside += found.low <= 1.0 <= found.high
    return inside / sets


def test_the_bootstrap_covers_the_mean_of_skewed_items() -> None:
    # 0.93 to 0.95 is what BCa reaches at 150 such items; three standard errors of 150 sets
    assert coverage_over_items(150, 150, 999) == pytest.approx(0.94, abs=0.058)


@pytest.mark.slow
def test_the_bootstrap_covers_the_mean_of_many_skewed_items_in_95_of_100() -> None:
    assert coverage_over_items(500, 800, 1999) == pytest.approx(0.95, abs=0.024)


@pytest.mark.slow
def test_at_five_seeds_student_covers_and_the_bootstrap_does_not() -> None:
    draws = np.random.default_rng(8).normal(0.0, 1.0, (800, 5))
    student, bootstrap = 0, 0
    for values in draws.tolist():
        for found in (mean_interval(values), bootstrap_interval(values, resamples=999)):
            assert found.low is not None and found.high is not None
            inside = found.low <= 0 <= found.high
            student += inside and found.method == "student t"
            bootstrap += inside and found.method == "bca bootstrap"
    assert student / 800 == pytest.approx(0.95, abs=0.024)
    assert bootstrap / 800 < 0.9
