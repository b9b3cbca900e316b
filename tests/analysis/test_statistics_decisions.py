"""Verdicts from intervals: the word, what stands beside it, p-values, families and looks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from experiments.analysis.statistics import (
    FAILS,
    HOLDS,
    UNRESOLVED,
    Decision,
    DifferenceRule,
    EqualityRule,
    Interval,
    Look,
    MeanEstimate,
    RangeRule,
    all_hold,
    combine_all,
    combine_any,
    decide,
    decide_at_looks,
    decide_by_interval,
    expected_false_verdicts,
    family_decisions,
    holm,
    reaches_full,
    seed_estimate,
)


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 5, "seeds", "student t")


@pytest.mark.parametrize(
    ("low", "high", "word", "qualifier"),
    [
        (1.5, 2.5, HOLDS, ""),
        (0.5, 1.5, HOLDS, "size to act on not resolved"),
        (0.1, 0.5, HOLDS, "below the size to act on"),
        (-0.1, 0.5, FAILS, ""),
        (-2.0, -0.5, FAILS, "the opposite direction"),
        (-0.1, 1.5, UNRESOLVED, ""),
        (-9.0, 9.0, UNRESOLVED, ""),
    ],
)
def test_a_claim_of_difference_is_judged_by_0_and_by_the_smallest_size_it_asserts(
    low: float, high: float, word: str, qualifier: str
) -> None:
    found = decide_by_interval(interval(low, high), DifferenceRule(1.0))
    assert (found.word, found.qualifier) == (word, qualifier)


@pytest.mark.parametrize(
    ("low", "high", "word", "qualifier"),
    [
        (-0.5, 0.5, HOLDS, ""),
        (0.2, 0.8, HOLDS, "differs by +0.5, within the margin"),
        (-0.8, -0.2, HOLDS, "differs by -0.5, within the margin"),
        (1.1, 1.5, FAILS, ""),
        (-1.5, -1.1, FAILS, ""),
        (0.5, 1.5, UNRESOLVED, "differs by +1"),
        (-0.5, 1.5, UNRESOLVED, ""),
    ],
)
def test_a_claim_of_equality_names_the_size_of_every_difference_that_excludes_0(
    low: float, high: float, word: str, qualifier: str
) -> None:
    found = decide_by_interval(interval(low, high), EqualityRule(1.0))
    assert (found.word, found.qualifier) == (word, qualifier)


@pytest.mark.parametrize(
    ("rule", "low", "high", "word", "qualifier"),
    [
        (RangeRule(5, 20), 6, 19, HOLDS, ""),
        (RangeRule(5, 20), 4, 19, UNRESOLVED, ""),
        (RangeRule(5, 20), 1, 4, FAILS, "below the range"),
        (RangeRule(5, 20), 21, 40, FAILS, "above the range"),
        (RangeRule(None, 0), -3, -1, HOLDS, ""),
        (RangeRule(None, 0), 1, 3, FAILS, ""),
        (RangeRule(1, None), 2, 3, HOLDS, ""),
        (RangeRule(1, None), 0.5, 3, UNRESOLVED, ""),
    ],
)
def test_a_claim_about_a_range_is_judged_by_its_ends(
    rule: RangeRule, low: float, high: float, word: str, qualifier: str
) -> None:
    found = decide_by_interval(interval(low, high), rule)
    assert (found.word, found.qualifier) == (word, qualifier)


def test_one_seed_or_seeds_that_agree_to_the_last_digit_decide_nothing() -> None:
    one = decide(seed_estimate([0.5]), EqualityRule(1.0))
    assert (one.word, one.qualifier, one.p) == (UNRESOLVED, "one seed", 1.0)
    same = decide(seed_estimate([0.5, 0.5, 0.5]), EqualityRule(1.0))
    assert (same.word, same.qualifier) == (UNRESOLVED, "all seeds give the same number")


@given(st.lists(st.floats(0.1, 3), min_size=3, max_size=8, unique=True))
def test_the_p_value_of_a_one_sided_range_is_that_of_students_test(values: list[float]) -> None:
    found = decide(seed_estimate(values), RangeRule(0.0, None))
    p = float(ttest_1samp(values, 0.0).pvalue)
    if found.word == UNRESOLVED:
        assert found.p == 1.0
    elif 1e-8 < p < 0.049:
        assert found.p == pytest.approx(p, rel=1e-3)


def test_a_verdict_that_needs_two_bounds_takes_the_larger_p() -> None:
    values = [0.3, 0.35, 0.25, 0.32, 0.28]
    found = decide(seed_estimate(values), EqualityRule(0.5))
    assert found.word == HOLDS
    assert found.p == pytest.approx(float(ttest_1samp(values, 0.5).pvalue), rel=1e-3)


def test_an_arm_reaches_full_only_where_full_still_improves() -> None:
    lower, higher = MeanEstimate(-0.01, 0.001, 5), MeanEstimate(0.01, 0.001, 5)
    falling, flat = MeanEstimate(0.02, 0.002, 5), MeanEstimate(0.001, 0.002, 5)
    assert reaches_full(lower, falling).word == HOLDS
    assert reaches_full(higher, falling).word == FAILS
    found = reaches_full(lower, flat)
    assert (found.word, found.qualifier) == (
        UNRESOLVED,
        "full fine-tuning does not improve from 0.8 T to T",
    )
    slow = MeanEstimate(0.02, 0.005, 5)
    assert reaches_full(lower, slow).p == pytest.approx(decide(slow, RangeRule(0, None)).p)


def test_a_claim_about_several_arms_holds_with_the_larger_p_and_fails_by_one_arm() -> None:
    sure, fair = MeanEstimate(1.0, 0.05, 5), MeanEstimate(1.0, 0.3, 5)
    rule = RangeRule(0.0, None)
    assert all_hold([sure, fair], rule) == decide(fair, rule)
    below = MeanEstimate(-1.0, 0.2, 5)
    found = all_hold([sure, below], rule)
    assert found.word == FAILS and found.p == pytest.approx(2 * decide(below, rule).p)
    narrow = MeanEstimate(-1.0, 0.35, 5)
    assert decide(narrow, rule).word == FAILS and all_hold([sure, narrow], rule).word == UNRESOLVED
    assert all_hold([sure, MeanEstimate(0.1, 0.3, 5)], rule).word == UNRESOLVED
    with pytest.raises(ValueError, match="no decisions to combine"):
        combine_all([])


def test_a_claim_of_which_one_part_must_hold_takes_the_best_part_and_fails_with_all() -> None:
    sure, fair = Decision(HOLDS, p=0.001), Decision(HOLDS, p=0.03)
    failed = Decision(FAILS, p=0.02)
    assert combine_any([sure, failed]) == Decision(HOLDS, p=0.002)
    assert combine_any([fair, failed]).word == UNRESOLVED  # 0.06 for two parts
    assert combine_any([failed, Decision(FAILS, p=0.04)]) == Decision(FAILS, p=0.04)
    assert combine_any([failed, Decision(UNRESOLVED)]).word == UNRESOLVED
    with pytest.raises(ValueError, match="no decisions to combine"):
        combine_any([])


def test_a_family_makes_a_narrow_verdict_unresolved_and_says_why() -> None:
    strong, narrow = Decision(HOLDS, p=0.001), Decision(FAILS, p=0.03)
    found = family_decisions([strong, narrow, narrow, Decision(UNRESOLVED)])
    assert [one.word for one in found] == [HOLDS, UNRESOLVED, UNRESOLVED, UNRESOLVED]
    assert found[0].p == pytest.approx(0.004)
    assert found[1].qualifier == "p is 0.09 after Holm's adjustment over the family"
    assert expected_false_verdicts(12) == pytest.approx(0.6)


def test_holm_is_the_published_procedure() -> None:
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([]) == []
    from statsmodels.stats.multitest import multipletests

    drawn = np.random.default_rng(9).uniform(0, 0.2, 12).tolist()
    assert holm(drawn) == pytest.approx(multipletests(drawn, method="holm")[1].tolist())


def test_a_look_decides_at_its_own_alpha_and_the_first_verdict_stays() -> None:
    rule = RangeRule(0.0, None)
    three, five = MeanEstimate(1.0, 0.2, 3), MeanEstimate(1.0, 0.2, 5)
    assert decide(three, rule).word == HOLDS  # at alpha 0.05, but not at 0.005
    found, look = decide_at_looks([three], rule)
    assert (found.word, look) == (UNRESOLVED, Look(3, 0.005))
    found, look = decide_at_looks([three, five], rule)
    assert (found.word, look) == (HOLDS, Look(5, 0.045))
    assert found.p == pytest.approx(decide(five, rule).p / 0.9)
    sure = MeanEstimate(1.0, 0.01, 3)
    found, look = decide_at_looks([sure, MeanEstimate(-1.0, 0.01, 5)], rule)
    assert (found.word, look.seeds) == (HOLDS, 3)
    with pytest.raises(ValueError, match="5 seeds at the look of 3 seeds"):
        decide_at_looks([five], rule)


def test_the_rules_take_arrays_of_intervals() -> None:
    low, high = np.array([-2.0, 0.1, -0.1]), np.array([-1.0, 0.2, 0.2])
    assert DifferenceRule(1.0).holds(low, high).tolist() == [False, True, False]
    assert DifferenceRule(1.0).fails(low, high).tolist() == [True, False, True]
    assert EqualityRule(0.5).holds(low, high).tolist() == [False, True, True]


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_or_delta_that_is_no_size_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        EqualityRule(size)
    with pytest.raises(ValueError, match="must be above 0"):
        DifferenceRule(size)


@pytest.mark.parametrize(("low", "high"), [(None, None), (2.0, 1.0), (math.nan, 1.0)])
def test_a_range_without_an_end_or_in_the_wrong_order_is_refused(
    low: float | None, high: float | None
) -> None:
    with pytest.raises(ValueError, match="give low, high or low < high"):
        RangeRule(low, high)
