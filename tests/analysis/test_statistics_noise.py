"""The noise floor of repeated runs, and groups of tied arms in words."""

import math

import numpy as np
import pytest

from experiments.analysis.statistics import noise_floor, tie_words, tied_groups


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
