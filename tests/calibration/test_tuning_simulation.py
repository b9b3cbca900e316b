"""The design of tuned sweeps, simulated: its runs, its choice, and what its interval covers."""

import math

import pytest

from conftest import ROOT
from experiments.calibration import tuning_simulation
from experiments.calibration.tuning_simulation import five_rates, seven_rates, simulate


def test_five_rates_take_fewer_runs_than_seven_and_find_a_clear_minimum() -> None:
    five, seven = (simulate(design, 0.1, 0.002, 40) for design in (five_rates, seven_rates))
    assert 19 <= five.mean_runs < 22 < seven.mean_runs
    assert five.most_runs <= 38
    assert five.within_one_step >= 0.99
    assert five.judged >= 0.95
    assert five.coverage >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 40)


def test_where_the_noise_hides_the_minimum_no_arm_has_more_than_the_most_runs() -> None:
    noisy = simulate(five_rates, 0.05, 0.01, 40)
    assert 22 < noisy.mean_runs < noisy.most_runs <= 38


@pytest.mark.slow
def test_the_page_on_sweeps_has_the_simulated_table() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    assert "\n".join(tuning_simulation.table()) in page
