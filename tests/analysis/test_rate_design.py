"""Which runs an arm needs to tune its learning rate: coarse first, then five rates."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.analysis import arms
from experiments.analysis.arms import Design, grid_rate, rate_design, run_count
from experiments.analysis.arms.rate_design import REACH, SEEDS, Phase, next_at
from experiments.records import Record
from support.arm_records import one_arm, parabola, record, tuned_records

FIRST = Design(*arms.first_grid(1e-2))
FIVE = (0.00316, 0.00562, 0.01, 0.0178, 0.0316)
Losses = dict[int, dict[int, float]]


def seeds_by_rate(made: list[Record]) -> dict[float, int]:
    arm = one_arm(made)
    assert arm is not None
    return {rate: len(arm.at(rate)) for rate in arm.rates}


def tuned_losses(
    loss: Callable[[int, int], float], design: Design = FIRST, losses: Losses | None = None
) -> tuple[Losses, Phase]:
    """Make the runs that are asked for, on grid steps relative to that of 0.01."""
    losses = losses or {}
    while True:
        asked = next_at(losses, design)
        if not asked.cells:
            return losses, asked.phase
        for cell in asked.cells:
            step = rate_design.grid_step(cell.rate)
            assert cell.seed not in losses.get(step, {}), "no run is made twice"
            losses.setdefault(step, {})[cell.seed] = loss(step + 8, cell.seed)


def test_the_first_seed_searches_in_half_decades_before_it_fills_the_gaps() -> None:
    asked = arms.next_cells(None, FIRST)
    assert [cell.rate for cell in asked.cells] == [0.00316, 0.01, 0.0316]
    assert {cell.seed for cell in asked.cells} == {SEEDS[0]}
    assert (asked.phase, asked.extended) == ("coarse", ())
    made = [record(cell.rate, cell.seed, abs(math.log(cell.rate / 0.01))) for cell in asked.cells]
    then = arms.next_cells(one_arm(made), FIRST)
    assert [cell.rate for cell in then.cells] == [0.00562, 0.0178]
    assert then.phase == "around the best"


def test_a_good_first_grid_costs_19_runs_at_five_rates_within_a_decade() -> None:
    made = tuned_records(parabola(1.1e-2, noise=0.0005), FIRST)
    assert seeds_by_rate(made) == dict(zip(FIVE, (2, 5, 5, 5, 2), strict=True))
    assert len(made) == run_count(FIRST).expected == 19
    arm = one_arm(made)
    assert arm is not None
    found = arms.tune(arm)
    assert (found.best, found.seeds, found.reasons) == (0.01, SEEDS, ())
    assert found.optimum is not None and found.optimum.problem is None


@pytest.mark.parametrize("optimum", [2e-4, 1e-3, 3e-2, 0.5])
def test_the_coarse_search_is_widened_only_until_the_best_is_bracketed(optimum: float) -> None:
    made = tuned_records(parabola(optimum, noise=0.0005), FIRST)
    arm = one_arm(made)
    assert arm is not None
    found = arms.tune(arm)
    assert found.best is not None and abs(math.log10(found.best / optimum)) < 0.26
    assert found.optimum is not None
    assert found.optimum.estimate == pytest.approx(optimum, rel=0.15)
    assert len(found.near) == 5 and found.reasons == ()
    away = abs(rate_design.grid_step(optimum) + 8)
    assert len(made) <= 19 + away // 2 + 3
    assert arms.next_cells(arm, FIRST).phase == "done"


@given(st.floats(-4, 4), st.floats(0.01, 0.4), st.floats(0, 0.05), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_whatever_the_curve_an_arm_ends_with_its_five_rates_or_says_why_it_does_not(
    optimum: float, curvature: float, noise: float, number: int
) -> None:
    curve = parabola(10 ** (optimum / 4), curvature=curvature, noise=noise, noise_seed=number)
    losses, phase = tuned_losses(lambda step, seed: curve(10 ** (step / 4), seed))
    assert sum(map(len, losses.values())) <= run_count(FIRST).most == 38
    if phase != "done":
        assert phase == "most runs"
        return
    means = {s: sum(own.values()) for s, own in losses.items() if len(own) == len(SEEDS)}
    lowest = [step for step, mean in means.items() if mean <= min(means.values()) + 1e-12]
    assert any(  # two rates may be equally good
        all(len(losses.get(step, ())) == 5 for step in range(best - 1, best + 2))
        and all(len(losses.get(step, ())) >= 2 for step in (best - REACH, best + REACH))
        for best in lowest
    )


def test_if_the_best_moves_when_seeds_arrive_the_five_follow() -> None:
    def loss(step: int, seed: int) -> float:
        return (step - (0.4 if seed == 0 else 0.7)) ** 2 + seed / 1000

    losses, phase = tuned_losses(loss)
    assert phase == "done"
    assert {step + 8: len(own) for step, own in losses.items()} == {
        **{-2: 2, -1: 2, 0: 5, 1: 5, 2: 5, 3: 2},
    }


def test_an_outer_rate_gets_all_seeds_unless_it_is_clearly_worse_than_the_best() -> None:
    wobble = {0: 0.01, 43: -0.01, 100: -0.01, 977: 0.01, 31415: 0.0}
    losses, _ = tuned_losses(lambda step, seed: abs(step) * 0.008 + (step == 2) * wobble[seed])
    counts = {step + 8: len(own) for step, own in losses.items()}
    assert counts == {-2: 5, -1: 5, 0: 5, 1: 5, 2: 5}
    steep, _ = tuned_losses(lambda step, seed: abs(step) * 0.1 + (step == 2) * wobble[seed])
    assert {step + 8: len(own) for step, own in steep.items()} == {-2: 2, -1: 5, 0: 5, 1: 5, 2: 2}


@given(st.lists(st.floats(0, 10), min_size=10, max_size=10), st.integers(-2, 2))
@settings(max_examples=100, deadline=None)
def test_a_neighbour_of_the_best_is_never_pruned(values: list[float], best: int) -> None:
    losses = {step: dict(zip((0, 43), values[2 * k : 2 * k + 2], strict=True))
              for k, step in enumerate(range(-2, 3))}  # fmt: skip
    pruned = rate_design.clearly_worse(best, list(losses), losses, (0, 43))
    assert not pruned & {best - 1, best, best + 1}


def test_a_rate_that_diverged_counts_as_tried_and_gets_no_further_seeds() -> None:
    losses, phase = tuned_losses(lambda step, seed: math.inf if step > 0 else abs(step) * 0.1)
    assert phase == "done"
    assert {step + 8: len(own) for step, own in losses.items()} == {-2: 2, -1: 5, 0: 5, 1: 5, 2: 2}


def test_where_all_diverges_lower_rates_are_tried_up_to_a_limit() -> None:
    design = Design(FIRST.low, FIRST.high, furthest=4)
    made = tuned_records(parabola(1e-2), design, diverges_from=1e-9)
    assert min(r.config["trainer"]["learning_rate"] for r in made) == grid_rate(FIRST.low - 4)
    assert arms.next_cells(one_arm(made), design).phase == "edge"
    arm = one_arm(made)
    assert arm is not None
    assert "all_diverged" in {reason.code for reason in arms.tune(arm).reasons}


def test_an_optimum_beyond_the_furthest_rate_is_on_the_edge_and_carries_no_verdict() -> None:
    design = Design(FIRST.low, FIRST.high, furthest=2)
    tuned = []
    for made in (
        tuned_records(parabola(1e-2), FIRST, ("lora=none",)),
        tuned_records(parabola(10.0), design),
    ):
        arm = one_arm(made)
        assert arm is not None
        tuned.append(arms.tune(arm))
    assert "edge_optimum" in {reason.code for reason in tuned[1].reasons}
    near, far = tuned
    assert arms.contrast(near, far, 0.05).finding == "unresolved"


def test_an_interrupted_tuning_goes_on_where_it_was() -> None:
    made = tuned_records(parabola(1e-3), FIRST)
    for kept in (2, 9, len(made) - 1):
        cells = arms.next_cells(one_arm(made[:kept]), FIRST).cells
        known = {(r.config["trainer"]["learning_rate"], r.config["seed"]) for r in made[:kept]}
        assert cells and not {(c.rate, c.seed) for c in cells} & known


def test_seven_rates_at_one_seed_and_three_at_all_are_completed_by_a_second_seed_at_two() -> None:
    losses: Losses = {
        step - 8: {seed: step**2 + seed / 1000 for seed in (SEEDS if abs(step) < 2 else SEEDS[:1])}
        for step in range(-3, 4)
    }
    asked = next_at(losses, FIRST)
    assert [(cell.rate, cell.seed) for cell in asked.cells] == [(0.00316, 43), (0.0316, 43)]
    completed, phase = tuned_losses(lambda step, seed: step**2 + seed / 1000, losses=losses)
    assert phase == "done" and sum(map(len, completed.values())) == 7 + 3 * 4 + 2


@pytest.mark.parametrize(
    ("seeds", "ends", "expected", "most"),
    [
        (5, (-10, -6), 19, 38),
        (3, (-10, -6), 13, 26),
        (2, (-10, -6), 10, 20),
        (8, (-10, -6), 28, 56),
        (5, (-12, -3), 22, 44),
    ],
)
def test_the_number_of_runs_follows_from_the_seeds_and_the_first_grid(
    seeds: int, ends: tuple[int, int], expected: int, most: int
) -> None:
    design = Design(*ends, seeds=tuple(range(seeds)))
    assert run_count(design) == arms.RunCount(expected, most)
    assert run_count(design, repeats=2) == arms.RunCount(expected + 2, most + 2)
    losses, _ = tuned_losses(lambda step, seed: step**2 + seed / 1000, design)
    assert sum(map(len, losses.values())) <= expected


def test_one_seed_reaches_the_furthest_rate() -> None:
    design = Design(FIRST.low, FIRST.high, seeds=(0,))
    losses, phase = tuned_losses(lambda step, seed: abs(step - 13), design)
    assert phase == "done" and {len(own) for own in losses.values()} == {1}
    assert max(losses) <= FIRST.high + 12


def test_the_most_runs_end_an_arm_whose_best_rate_keeps_moving() -> None:
    def loss(step: int, seed: int) -> float:
        return abs(step) if seed in SEEDS[:2] else -step

    losses, phase = tuned_losses(loss)
    assert phase == "most runs"
    assert 30 < sum(map(len, losses.values())) <= 38
