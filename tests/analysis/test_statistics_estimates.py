"""Means over seeds and test rows: known decompositions, coverage, and what is refused."""

import math

import numpy as np
import pytest

from experiments.analysis.statistics import (
    crossed_estimate,
    crossed_interval,
    jackknife_estimate,
    mean_interval,
    paired_difference,
    ratio_values,
    seed_estimate,
)


def test_seeds_alone_give_students_interval_at_every_level() -> None:
    values = [0.1, 0.4, 0.2, 0.25]
    for confidence in (0.9, 0.95, 0.995):
        found, known = seed_estimate(values).interval(confidence), mean_interval(values, confidence)
        assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_a_table_without_row_effects_has_no_row_error_and_students_interval_over_seeds() -> None:
    by_seed = [0.1, 0.4, 0.2]
    found = crossed_interval([[value] * 10 for value in by_seed])
    known = paired_difference([0.0] * 3, by_seed)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert (found.over, found.n, found.method) == ("seeds and rows", 3, "crossed t")


def test_variances_of_an_additive_table_are_those_of_its_parts() -> None:
    seeds, rows = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0, 4.0, 9.0])
    found = crossed_estimate((seeds[:, None] + rows[None, :]).tolist())
    assert found.estimate == pytest.approx(seeds.mean() + rows.mean())
    assert found.seed_error == pytest.approx(seeds.std(ddof=1) / math.sqrt(3))
    assert found.row_error == pytest.approx(rows.std(ddof=1) / 2)


def test_the_share_of_the_variance_from_seeds_is_known_if_rows_were_scored() -> None:
    seeds, rows = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0, 4.0, 9.0])
    parts = seeds.var(ddof=1) / 3, rows.var(ddof=1) / 4
    found = crossed_estimate((seeds[:, None] + rows[None, :]).tolist())
    assert found.seed_share == pytest.approx(parts[0] / sum(parts))
    assert seed_estimate([0.1, 0.2, 0.4]).seed_share is None
    assert crossed_estimate([[0.1, 0.2]]).seed_share is None  # one seed
    assert crossed_estimate([[1.0, 1.0], [1.0, 1.0]]).seed_share is None  # nothing varies


def test_the_residual_is_counted_once() -> None:
    # residual only: V_seeds and V_rows both estimate sigma^2 / (n m), and the sum must be one of it
    draws = np.random.default_rng(0).normal(size=(2000, 5, 20))
    found = [crossed_estimate(draw.tolist()) for draw in draws[:400]]
    seed_part = np.mean([one.seed_error**2 for one in found])
    row_part = np.mean([one.row_error**2 for one in found])
    assert seed_part == pytest.approx(1 / 100, rel=0.1)
    assert row_part < 0.3 / 100  # its mean is 0 before it is cut at 0


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_a_crossed_interval_covers_the_mean_over_all_seeds_and_rows(seeds: int) -> None:
    generator, inside = np.random.default_rng(seeds), []
    for _ in range(500):
        table = (
            generator.normal(0, 1, (seeds, 1))
            + generator.normal(0, 10, (1, 200))
            + generator.normal(0, 5, (seeds, 200))
        )
        found = crossed_interval(table.tolist())
        assert found.low is not None and found.high is not None
        inside.append(found.low <= 0 <= found.high)
    assert np.mean(inside) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 500)


def test_weights_give_the_difference_of_two_means_per_token() -> None:
    generator = np.random.default_rng(1)
    tokens = generator.integers(5, 50, 30)
    a, b = generator.gamma(2.0, 1.0, (2, 4, 30)) * tokens
    found = crossed_estimate((b - a).tolist(), tokens.tolist())
    per_seed = (b - a).sum(axis=1) / tokens.sum()
    assert found.estimate == pytest.approx(per_seed.mean())
    assert found.deviation == pytest.approx(per_seed.std(ddof=1))
    linear = [ratio_values(sums, tokens.tolist()) for sums in (b - a).tolist()]
    assert found == crossed_estimate(linear) or found.row_error == pytest.approx(
        crossed_estimate(linear).row_error
    )


def test_one_seed_has_no_interval_and_one_row_leaves_the_seeds() -> None:
    assert crossed_interval([[0.1, 0.3]]).low is None
    assert crossed_estimate([[0.1], [0.3]]) == seed_estimate([0.1, 0.3])


def test_the_jackknife_of_a_mean_is_the_mean() -> None:
    values = [1.0, 2.0, 4.0, 3.0]
    left_out = [(sum(values) - value) / 3 for value in values]
    found = jackknife_estimate(2.5, left_out)
    assert found.interval() == seed_estimate(values).interval() or found.seed_error == (
        pytest.approx(seed_estimate(values).seed_error)
    )


def test_tables_that_give_no_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="the seeds have 2, 1 rows: score all on the same rows"):
        crossed_estimate([[0.1, 0.2], [0.1]])
    with pytest.raises(ValueError, match="no differences"):
        crossed_estimate([])
    with pytest.raises(ValueError, match="not finite"):
        crossed_estimate([[0.1, math.nan]])
    with pytest.raises(ValueError, match="1 weights for 2 rows"):
        crossed_estimate([[0.1, 0.2]], [1.0])
    with pytest.raises(ValueError, match="confidence 95"):
        crossed_interval([[0.1, 0.2]], 95)
