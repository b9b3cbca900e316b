"""The simulated promises: false verdicts, power at printed effects, and the page of the record."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from conftest import ROOT
from experiments.analysis.statistics import (
    LOOKS,
    DifferenceRule,
    EqualityRule,
    RangeRule,
    crossed_estimate,
    decide,
    decide_at_looks,
    seed_estimate,
)
from experiments.calibration import simulated_verdicts, statistics_simulation
from experiments.calibration.simulated_estimates import (
    NOISES,
    NORMAL,
    PROMISED,
    RESIDUAL,
    ROW_ERROR,
    ROWS,
    SimulatedCell,
    means,
)
from experiments.calibration.simulated_verdicts import FEW, KINDS, MANY

STORED = json.loads((ROOT / statistics_simulation.RECORD).read_text(encoding="utf-8"))
FAST = [kind for kind in KINDS if kind.repetitions != FEW]


def allowance(share: float, repetitions: int) -> float:
    """Four binomial standard errors."""
    return 4 * math.sqrt(share * (1 - share) / repetitions)


def repetitions(kind: str) -> int:
    [found] = [one for one in KINDS if one.name == kind]
    return found.repetitions


def broken_promises(cells: list[dict[str, Any]], fewer: int = 1) -> list[dict[str, Any]]:
    broken = []
    for cell in statistics_simulation.promised(cells):
        n = repetitions(cell["kind"]) // fewer
        false = max(cell["false_holds"], cell["false_fails"])
        if false > 0.05 + allowance(0.05, n):
            broken.append(cell)
    for cell in statistics_simulation.powered(cells):
        n = repetitions(cell["kind"]) // fewer
        if min(cell["power_holds"], cell["power_fails"]) < 0.8 - allowance(0.8, n):
            broken.append(cell)
    return broken


def test_the_committed_page_is_what_the_record_renders_to() -> None:
    page = (ROOT / statistics_simulation.PAGE).read_text(encoding="utf-8")
    assert page == statistics_simulation.page(STORED)


def test_the_record_keeps_its_promises_in_every_kind_of_estimand() -> None:
    cells = STORED["cells"]
    assert {cell["kind"] for cell in cells} == {kind.name for kind in KINDS}
    assert broken_promises(cells) == []
    for kind in KINDS:
        found = [c for c in cells if c["kind"] == kind.name]
        assert len(found) == len(kind.rows) * len(kind.noises) * len(kind.seeds)


@pytest.mark.parametrize("kind", FAST, ids=lambda kind: kind.name)
def test_a_new_simulation_keeps_the_promises(kind: simulated_verdicts.Estimand) -> None:
    noises = tuple(noise for noise in NOISES if noise.name in PROMISED)
    cells = simulated_verdicts.cells([dataclasses.replace(kind, noises=noises)], fewer=10)
    assert broken_promises(cells, fewer=10) == []


def test_a_new_simulation_of_a_ratio_of_rates_keeps_the_promises() -> None:
    [kind] = [one for one in KINDS if one.name == "ratio of rates"]
    one = dataclasses.replace(kind, noises=(NORMAL,), seeds=(5,))
    assert broken_promises(simulated_verdicts.cells([one], fewer=4), fewer=4) == []


def test_simulated_means_have_the_errors_of_tables_of_seeds_and_rows() -> None:
    setting = SimulatedCell(5, NORMAL, True, 20_000)
    found, generator, n = means(setting), np.random.default_rng(0), 400
    tables = [
        crossed_estimate(
            (
                generator.normal(0, math.sqrt(1 - RESIDUAL), (5, 1))
                + generator.normal(0, ROW_ERROR * math.sqrt(ROWS), (1, ROWS))
                + generator.normal(0, math.sqrt(RESIDUAL * ROWS), (5, ROWS))
            ).tolist()
        )
        for _ in range(n)
    ]
    for error in ("seed_error", "row_error"):
        wanted = np.mean([getattr(one, error) ** 2 for one in tables])
        assert np.mean(getattr(found, error) ** 2) == pytest.approx(wanted, rel=0.12)
    assert np.var([one.estimate for one in tables]) == pytest.approx(
        np.var(found.estimate), rel=0.25
    )


def test_simulated_words_are_those_of_the_rules() -> None:
    setting = SimulatedCell(5, NORMAL, False, 200)
    values = setting.draw(setting.generator(1, 0), (200, 5))
    found = means(setting)
    for rule in (DifferenceRule(1.0), EqualityRule(1.5), RangeRule(0.0, None)):
        words = [decide(seed_estimate(one.tolist()), rule).word for one in values]
        assert found.holds(rule).tolist() == [word == "holds here" for word in words]
        assert found.fails(rule).tolist() == [word == "does not hold here" for word in words]


def test_looks_are_wrong_in_no_more_than_one_test_with_all_seeds() -> None:
    values = np.random.default_rng(3).normal(0, 1, (400, 5))
    words = [
        decide_at_looks(
            [seed_estimate(one[: look.seeds].tolist()) for look in LOOKS], RangeRule(0.0, None)
        )[0].word
        for one in values
    ]
    assert words.count("unresolved") / 400 >= 0.95 - allowance(0.05, 400)


def test_a_skewed_noise_is_shown_and_not_promised() -> None:
    cells = STORED["cells"]
    skewed = [c for c in cells if c["noise"] == "lognormal, sigma 1" and c["kind"] == "equality"]
    assert max(c["false_holds"] for c in skewed) > 0.1
    assert not {c["noise"] for c in statistics_simulation.promised(cells)} - set(PROMISED)
    assert MANY > FEW


def test_the_command_without_write_prints_the_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    statistics_simulation.main([])
    assert capsys.readouterr().out == statistics_simulation.page(STORED)
