"""Findings against a margin: what simulated sweeps of known effects are called, and how often."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.analysis.statistics import (
    compare,
    detectable_effect,
    holm,
    in_family,
    noise_floor,
    seeds_to_decide,
    tie_words,
    tied_groups,
)
from experiments.analysis.statistics.power import chances

SEEDS = 5
MARGIN = 2.5
"""In standard deviations of the paired differences."""
EFFECTS = {"null": 0.0, "twice": 2 * MARGIN, "at the margin": MARGIN}


def simulated_findings(sweeps: int, seed: int) -> dict[str, list[str]]:
    """Judge whole sweeps: one reference, an arm per effect, five seeds, Holm over the arms."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[str]] = {name: [] for name in EFFECTS}
    for _ in range(sweeps):
        shared = generator.normal(0, 20, SEEDS)  # what a seed does to every arm
        reference = (shared + generator.normal(0, math.sqrt(0.5), SEEDS)).tolist()
        arms = [
            (shared + effect + generator.normal(0, math.sqrt(0.5), SEEDS)).tolist()
            for effect in EFFECTS.values()
        ]
        comparisons = in_family([compare(reference, arm, MARGIN, "minimize") for arm in arms])
        for name, comparison in zip(EFFECTS, comparisons, strict=True):
            found[name].append(comparison.finding)
    return found


def share(findings: Sequence[str], finding: str) -> float:
    return findings.count(finding) / len(findings)


def assert_sweeps_reach_their_levels(sweeps: int, seed: int) -> None:
    found = simulated_findings(sweeps, seed)
    error = 3 * math.sqrt(0.05 * 0.95 / sweeps)  # three binomial standard errors
    assert share(found["twice"], "worse") >= 0.95
    assert share(found["null"], "tied") >= 0.95
    assert share(found["at the margin"], "tied") <= 0.05 + error
    assert share(found["null"], "better") + share(found["null"], "worse") <= 0.05 + error
    assert share(found["twice"], "better") == 0


def test_simulated_sweeps_find_twice_the_margin_and_call_nulls_tied() -> None:
    assert_sweeps_reach_their_levels(sweeps=200, seed=1)


@pytest.mark.slow
def test_two_thousand_simulated_sweeps_reach_their_levels() -> None:
    assert_sweeps_reach_their_levels(sweeps=2000, seed=2)


def test_an_effect_at_the_margin_is_called_tied_in_five_of_a_hundred_without_a_family() -> None:
    generator = np.random.default_rng(3)
    gaps = generator.normal(MARGIN, 1, (300, SEEDS))
    findings = [compare([0.0] * SEEDS, g.tolist(), MARGIN, "minimize").finding for g in gaps]
    assert share(findings, "tied") <= 0.05 + 3 * 0.0126


@pytest.mark.parametrize(
    ("gaps", "finding"),
    [
        ([2.0, 2.1, 1.9], "worse"),
        ([-2.0, -2.1, -1.9], "better"),
        ([0.1, -0.1, 0.02], "tied"),
        ([0.5, 0.6, 0.7], "tied"),  # there is a difference, and it is smaller than what matters
        ([3.0, -1.0, 1.0], "undecided"),
        ([0.98, 1.02, 0.99], "undecided"),  # certainly not 0, but not beyond the margin either
        ([0.3, 0.3, 0.3], "undecided"),  # seeds that agree to the last digit prove nothing
        ([0.3], "undecided"),
    ],
)
def test_a_finding_needs_both_a_test_and_the_margin(gaps: list[float], finding: str) -> None:
    assert compare([0.0] * len(gaps), gaps, 1.0, "minimize").finding == finding


def test_the_direction_turns_better_and_worse() -> None:
    assert compare([0.0] * 3, [2.0, 2.1, 1.9], 1.0, "maximize").finding == "better"


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(0.1, 3))
def test_tied_is_the_same_as_a_90_percent_interval_inside_the_margin(
    gaps: list[float], margin: float
) -> None:
    found = compare([0.0] * len(gaps), gaps, margin, "minimize")
    low, high = found.equivalence.low, found.equivalence.high
    assert low is not None and high is not None
    if min(abs(margin + low), abs(margin - high)) > 1e-6 and found.p_equivalence < 1:
        assert (found.finding == "tied") == (-margin < low and high < margin)


def test_holm_is_the_published_procedure() -> None:
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([]) == []
    from statsmodels.stats.multitest import multipletests

    drawn = np.random.default_rng(9).uniform(0, 0.2, 12).tolist()
    assert holm(drawn) == pytest.approx(multipletests(drawn, method="holm")[1].tolist())


def test_a_family_turns_a_narrow_finding_into_none() -> None:
    strong = compare([0.0] * 4, [2.0, 2.1, 1.9, 2.05], 0.5, "minimize")
    narrow = compare([0.0] * 4, [1.0, 3.0, 0.8, 2.2], 0.5, "minimize")
    assert narrow.finding == "worse"
    found = in_family([strong, narrow, narrow, narrow])
    assert [one.finding for one in found] == ["worse", "undecided", "undecided", "undecided"]
    assert found[1].difference == narrow.difference


def test_chances_agree_with_simulated_comparisons() -> None:
    generator = np.random.default_rng(4)
    expected = chances(0.8, 1.0, n=8, margin=1.2)
    gaps = generator.normal(0.8, 1.0, (250, 8))
    findings = [compare([0.0] * 8, g.tolist(), 1.2, "minimize").finding for g in gaps]
    error = 3 * math.sqrt(0.25 / 250)
    assert share(findings, "tied") == pytest.approx(expected.tied, abs=error)
    assert share(findings, "worse") == pytest.approx(expected.different, abs=error)


def test_detectable_effect_is_that_of_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    for n in (3, 5, 20):
        known = TTestPower().solve_power(power=0.8, nobs=n, alpha=0.05)
        assert detectable_effect(2.0, n) == pytest.approx(2 * known, rel=1e-3)
    assert detectable_effect(2.0, 1) is None


def test_seeds_to_decide_grow_as_an_effect_nears_the_margin() -> None:
    needed = [seeds_to_decide(effect, 1.0, 1.0) for effect in (0.0, 0.5, 0.8)]
    assert all(n is not None for n in needed)
    assert needed == sorted(n for n in needed if n)
    assert seeds_to_decide(1.0, 1.0, 1.0) is None  # an effect at the margin is never decided
    assert seeds_to_decide(5.0, 1.0, 1.0) == 3
    assert seeds_to_decide(0.1, 0.0, 1.0) == 2


def test_seeds_to_decide_do_decide_in_eighty_of_a_hundred() -> None:
    n = seeds_to_decide(0.3, 1.0, 1.0)
    assert n is not None
    gaps = np.random.default_rng(5).normal(0.3, 1.0, (250, n))
    findings = [compare([0.0] * n, g.tolist(), 1.0, "minimize").finding for g in gaps]
    assert 1 - share(findings, "undecided") >= 0.8 - 3 * 0.025


def test_the_noise_floor_is_pooled_over_repeated_cells_only() -> None:
    found = noise_floor([[1.0, 1.2], [5.0], [3.0, 3.2]])
    assert found is not None
    assert found.deviation == pytest.approx(0.2 / math.sqrt(2))
    assert (found.cells, found.runs) == (2, 4)
    assert found.high > found.deviation
    assert found.covers(0.28) and not found.covers(0.29)
    assert noise_floor([[1.0], [2.0]]) is None


def test_the_noise_floor_recovers_a_known_deviation() -> None:
    draws = np.random.default_rng(6).normal(0, 0.3, (300, 66, 2))  # 66 cells, each run twice
    floors = [noise_floor(cells.tolist()) for cells in draws]
    assert np.mean([f.deviation for f in floors if f]) == pytest.approx(0.3, rel=0.02)
    covered = np.mean([f.high >= 0.3 for f in floors if f])
    assert covered == pytest.approx(0.95, abs=0.04)  # three binomial standard errors


def test_a_group_holds_only_arms_that_are_all_tied_with_each_other() -> None:
    groups = tied_groups(["r=16", "r=8", "r=4", "r=1"], [("r=4", "r=8"), ("r=8", "r=16")])
    assert groups == [["r=16", "r=8"], ["r=8", "r=4"], ["r=1"]]
    assert tie_words(groups, "0.01 nats") == (
        "r=16 and r=8 are tied within 0.01 nats; r=8 and r=4 are tied within 0.01 nats; "
        "r=1 is tied with no other arm."
    )


def test_a_margin_or_a_count_without_a_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="margin 0: it must be above 0"):
        compare([1.0, 2.0], [1.0, 2.0], 0, "minimize")
    with pytest.raises(ValueError, match=r"n=1, deviation=1\.0"):
        chances(0.0, 1.0, 1, 1.0)
