"""Power of the verdicts: against simulated verdicts, and the number of seeds that would decide."""

import math

import numpy as np
import pytest

from experiments.analysis.statistics import (
    FAILS,
    HOLDS,
    DifferenceRule,
    EqualityRule,
    MeanEstimate,
    RangeRule,
    Rule,
    Spread,
    affordable_margin,
    crossed_estimate,
    decide,
    detectable_truth,
    seed_estimate,
    seeds_needed,
    word_chances,
)


@pytest.mark.parametrize("rule", [DifferenceRule(1.5), EqualityRule(1.5), RangeRule(None, 0.5)])
@pytest.mark.parametrize("truth", [0.0, 1.0, 2.5])
def test_chances_agree_with_simulated_verdicts(rule: Rule, truth: float) -> None:
    draws = np.random.default_rng(4).normal(truth, 1.0, (400, 5))
    words = [decide(seed_estimate(draw.tolist()), rule).word for draw in draws]
    expected = word_chances(rule, truth, Spread(1.0), seeds=5)
    error = 3 * math.sqrt(0.25 / 400)
    assert words.count(HOLDS) / 400 == pytest.approx(expected.holds, abs=error)
    assert words.count(FAILS) / 400 == pytest.approx(expected.fails, abs=error)


def test_chances_with_row_noise_agree_with_simulated_tables() -> None:
    generator, rule = np.random.default_rng(5), DifferenceRule(1.0)
    words = [
        decide(
            crossed_estimate(
                (generator.normal(1.2, 0.5, (5, 1)) + generator.normal(0, 4, (1, 100))).tolist()
            ),
            rule,
        ).word
        for _ in range(400)
    ]
    expected = word_chances(rule, 1.2, Spread(0.5, 0.4), seeds=5)
    assert words.count(HOLDS) / 400 == pytest.approx(expected.holds, abs=0.075)


def test_the_effect_that_a_claim_of_difference_detects_is_that_of_students_test() -> None:
    from statsmodels.stats.power import TTestPower

    for n in (3, 5, 20):
        known = TTestPower().solve_power(power=0.8, nobs=n, alpha=0.05)
        found = detectable_truth(DifferenceRule(1.0), HOLDS, Spread(2.0), n)
        assert found == pytest.approx(2 * known, rel=0.01)


@pytest.mark.parametrize("rule", [DifferenceRule(3.0), EqualityRule(3.0), RangeRule(-4, 3)])
@pytest.mark.parametrize("word", [HOLDS, FAILS])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_a_verdict_has_80_percent_power_at_its_detectable_value(
    rule: Rule, word: str, seeds: int
) -> None:
    truth = detectable_truth(rule, word, Spread(0.5, 0.2), seeds)  # type: ignore[arg-type]
    assert truth is not None
    found = word_chances(rule, truth, Spread(0.5, 0.2), seeds)
    assert (found.holds if word == HOLDS else found.fails) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_an_effect_printed_from_the_deviation_of_the_seeds_has_its_power_in_new_runs(
    seeds: int,
) -> None:
    generator, rule = np.random.default_rng(seeds), DifferenceRule(1.0)
    per_deviation = detectable_truth(rule, HOLDS, Spread(1.0, freedom=seeds - 1), seeds)
    assert per_deviation is not None
    found = 0
    for _ in range(600):
        seen = seed_estimate(generator.normal(0, 1, seeds).tolist())
        again = generator.normal(per_deviation * seen.deviation, 1, seeds)
        found += decide(seed_estimate(again.tolist()), rule).word == HOLDS
    assert found / 600 == pytest.approx(0.8, abs=3 * math.sqrt(0.16 / 600))
    assert Spread.of(seen).freedom == seeds - 1


def test_a_margin_that_is_narrow_for_the_noise_can_never_hold() -> None:
    spread = Spread(1.0)
    margin = affordable_margin(spread, 5)
    assert margin is not None and 1.5 < margin < 2.5
    assert word_chances(EqualityRule(margin), 0.0, spread, 5).holds == pytest.approx(0.8, abs=0.01)
    assert detectable_truth(EqualityRule(margin / 2), HOLDS, spread, 5) is None
    assert detectable_truth(EqualityRule(margin), HOLDS, Spread(1.0), 1) is None


def test_the_seeds_that_would_decide_are_a_range_that_ignores_the_estimated_effect() -> None:
    found = seeds_needed(EqualityRule(1.0), MeanEstimate(0.9, 1 / math.sqrt(5), 5))
    assert found == seeds_needed(EqualityRule(1.0), MeanEstimate(0.0, 1 / math.sqrt(5), 5))
    assert found.low is not None and found.high is not None
    assert 5 < found.low < 13 < found.high < 120  # 13 with the estimated deviation
    assert str(found) == f"{found.low} to {found.high} seeds"


def test_too_few_rows_are_named_as_the_limit() -> None:
    rule = DifferenceRule(1.0)
    assert str(seeds_needed(rule, MeanEstimate(0.0, 0.1, 5, 0.4, 100))) == (
        "no number of seeds: rows"
    )
    assert not seeds_needed(rule, MeanEstimate(0.0, 0.1, 5, 0.1, 100)).rows_limit
    # a third of a margin leaves equal arms a power of 0.70, whatever the seeds
    assert seeds_needed(EqualityRule(1.0), MeanEstimate(0.0, 0.1, 5, 0.33, 100)).rows_limit


def test_more_seeds_than_anyone_runs_are_not_counted() -> None:
    found = seeds_needed(EqualityRule(0.01), MeanEstimate(0.0, 1.0, 5))
    assert str(found) == "more than 1000 seeds"
    with pytest.raises(ValueError, match="one seed shows no deviation"):
        seeds_needed(EqualityRule(1.0), MeanEstimate(0.0, 0.0, 1))
