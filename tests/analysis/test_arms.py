"""Tuned arms from records: what is planned, chosen, compared, and what carries no verdict."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import records
from experiments.analysis import arms, statistics
from experiments.analysis.arms import Design, Tuned, grid_rate
from experiments.analysis.arms.rate_design import SEEDS
from experiments.analysis.statistics import NoiseFloor
from experiments.records import Record
from support.arm_records import BASE, IDENTITY, Curve, one_arm, parabola, record, tuned_records

FIRST = Design(*arms.first_grid(1e-2))
FULL, ATTENTION = ("lora=none",), ("lora=attention",)


def tuned(made: list[Record]) -> Tuned:
    arm = one_arm(made)
    assert arm is not None
    return arms.tune(arm)


def codes(found: Any) -> set[str]:
    return {reason.code for reason in found.reasons}


@given(st.floats(-3.6, -0.4), st.integers(0, 1000), st.floats(0.0005, 0.02))
@settings(max_examples=25, deadline=None)
def test_whatever_the_curve_every_arm_ends_equally_tuned(
    place: float, noise_seed: int, noise: float
) -> None:
    made = tuned_records(parabola(10**place, noise=noise, noise_seed=noise_seed), FIRST)
    if arms.next_cells(one_arm(made), FIRST).phase == "most runs":
        return  # about one in a thousand where the noise is largest
    one = tuned(made)
    other = tuned(tuned_records(parabola(1e-2, noise_seed=noise_seed), FIRST, FULL))
    assert arms.equal_tuning([one, other]) == []
    assert not codes(one) & {"edge_optimum", "missing_cells", "unequal_seeds"}


def test_rates_that_diverge_are_tried_counted_and_left_out_of_the_fit() -> None:
    made = tuned_records(parabola(1e-2), FIRST, diverges_from=0.03)
    found = tuned(made)
    assert found.best == 0.01
    assert math.isinf(found.curve[-1].mean)
    assert len(found.near) == 5
    assert arms.excess_loss(found, 0.0316).relative == math.inf


def test_a_loss_a_nat_above_the_base_is_divergence_too() -> None:
    arm = one_arm([record(1e-2, 0, BASE["validation/loss/nll"] + 1.1), record(1e-3, 0, 1.0)])
    assert arm is not None
    assert [one.loss for one in arm.runs] == [1.0, None]


def test_a_rules_rate_is_made_with_all_seeds_at_the_grid_rates_around_it() -> None:
    made = tuned_records(parabola(1e-2), FIRST)
    [arm] = arms.read(made)
    asked = arms.rule_cells(arm, FIRST, 0.12)
    assert {cell.rate for cell in asked} == {0.1, 0.178}
    assert {cell.seed for cell in asked if cell.rate == 0.178} == set(FIRST.seeds)
    made += [record(cell.rate, cell.seed, 0.5) for cell in asked]
    [arm] = arms.read(made)
    assert arms.rule_cells(arm, FIRST, 0.12) == ()
    assert arms.excess_loss(arms.tune(arm), 0.12).seeds == len(FIRST.seeds)
    assert {cell.rate for cell in arms.rule_cells(arm, FIRST, 0.01)} <= {0.01}


def test_the_optimum_is_found_between_grid_rates() -> None:
    found = tuned(tuned_records(parabola(8e-3, noise=0.0005), FIRST)).optimum
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < 8e-3 < found.high
    assert found.estimate == pytest.approx(8e-3, rel=0.03)
    assert found.curvature == pytest.approx(0.1, rel=0.1)


def at_rates(
    curve: Callable[[float], float],
    noise: float,
    generator: np.random.Generator,
    outer_seeds: int = 2,
    steps: Sequence[int] = (-10, -9, -8, -7, -6),
) -> dict[float, dict[int, float]]:
    """Losses at five grid rates around 0.01, the outer two with fewer seeds."""
    shared = generator.normal(0, 0.05, len(SEEDS))
    return {
        grid_rate(step): {
            seed: curve(math.log10(grid_rate(step))) + shared[k] + generator.normal(0, noise)
            for k, seed in enumerate(SEEDS[: outer_seeds if abs(step + 8) == 2 else None])
        }
        for step in steps
    }


@pytest.mark.parametrize(("cubic", "coverage"), [(0.0, 0.95), (0.05, 0.91)])
def test_the_interval_of_an_optimum_covers_it_in_95_of_100_and_91_where_the_curve_is_skewed(
    cubic: float, coverage: float
) -> None:
    generator, inside = np.random.default_rng(0), []
    optimum = math.log10(0.011)
    for _ in range(300):
        losses = at_rates(
            lambda x: 0.1 * (x - optimum) ** 2 + cubic * (x - optimum) ** 3, 0.001, generator
        )
        found = arms.optimum(losses)
        assert found is not None and found.low is not None and found.high is not None
        inside.append(found.low <= 0.011 <= found.high)
    assert np.mean(inside) >= coverage - 3 * math.sqrt(coverage * (1 - coverage) / 300)


def test_an_optimum_whose_narrow_and_wide_fit_differ_carries_no_verdict() -> None:
    generator = np.random.default_rng(1)
    kink = arms.optimum(at_rates(lambda x: abs(x + 2) + max(0, x + 2) * 3, 0.0, generator))
    assert kink is not None and kink.problem is not None
    assert "the narrow and the wide fit differ by" in kink.problem
    smooth = arms.optimum(at_rates(lambda x: (x + 2) ** 2, 0.0, generator))
    assert smooth is not None and smooth.problem is None


@pytest.mark.parametrize(
    "made",
    [
        {"outer_seeds": 1},
        {"outer_seeds": 5, "steps": (-9, -8, -7)},
        {"outer_seeds": 5, "steps": (-9, -8, -7, -6)},
    ],
)
def test_an_optimum_without_five_rates_in_a_decade_or_two_seeds_at_the_outer_ones_is_unchecked(
    made: dict[str, Any],
) -> None:
    losses = at_rates(lambda x: (x + 2) ** 2, 0.001, np.random.default_rng(2), **made)
    found = arms.optimum(losses)
    assert found is not None and found.problem is not None
    assert "five rates within a decade are needed" in found.problem


def test_a_curve_without_a_lowest_point_has_no_optimum() -> None:
    falling = {rate: {0: -rate, 1: -rate} for rate in (0.01, 0.0178, 0.0316)}
    assert arms.optimum(falling) is None
    assert arms.optimum({0.01: {0: 1.0}, 0.0178: {0: 0.9}}) is None
    assert arms.optimum({}) is None


def test_the_ratio_of_two_optima_is_paired_and_has_an_interval() -> None:
    lora = tuned(tuned_records(parabola(1e-2, noise=0.0005), FIRST))
    full = tuned(tuned_records(parabola(1e-3, noise=0.0005, noise_seed=1), FIRST, FULL))
    found = arms.rate_ratio(lora.losses(), full.losses())
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < 10 < found.high
    assert found.estimate == pytest.approx(10, rel=0.1)
    assert found == arms.rate_ratio(lora.losses(), full.losses())


def test_the_more_noise_the_wider_the_interval_of_an_optimum_or_there_is_none() -> None:
    quiet = tuned(tuned_records(parabola(1e-2, curvature=0.02, noise=0.0001), FIRST)).optimum
    loud = tuned(tuned_records(parabola(1e-2, curvature=0.02, noise=0.01), FIRST)).optimum
    assert quiet is not None and quiet.low is not None and quiet.high is not None
    assert quiet.high / quiet.low < 1.1
    if loud is not None:
        assert loud.low is not None and loud.high is not None
        assert loud.high / loud.low > quiet.high / quiet.low


def test_excess_loss_is_that_of_the_fit_near_the_optimum_and_paired_by_seed_further_out() -> None:
    found = tuned(tuned_records(parabola(1e-2, noise=0.0), FIRST))
    two_steps = arms.excess_loss(found, 0.0316)
    assert two_steps.nats is not None and not two_steps.interpolated
    assert two_steps.nats.n == 2  # the seeds of the outer rates
    assert two_steps.nats.estimate == pytest.approx(0.1 * 0.5**2, rel=0.01)
    between = arms.excess_loss(found, 0.0133)
    assert between.interpolated and between.nats is not None
    assert between.nats.estimate == pytest.approx(0.1 * 0.124**2, rel=0.02)
    assert between.relative == pytest.approx(between.nats.estimate / 0.1, rel=0.2)
    assert codes(arms.excess_loss(found, 5.0)) == {"outside_grid"}


def test_beyond_the_neighbours_an_excess_lies_between_those_of_the_rates_around_it() -> None:
    found = tuned(tuned_records(parabola(1e-2, noise=0.0), FIRST))
    far = arms.excess_loss(found, 0.0237)  # between 0.0178 and 0.0316
    assert far.interpolated and far.root is None and far.nats is not None
    assert 0.1 * 0.25**2 < far.nats.estimate < 0.1 * 0.5**2


@pytest.mark.parametrize("noise", [0.0005, 0.003])
def test_a_rule_that_names_the_optimum_is_hardly_ever_charged_half_a_percent(noise: float) -> None:
    beyond, judged = 0, 0
    for k in range(40):
        made = tuned_records(parabola(0.0115, curvature=0.2, noise=noise, noise_seed=k), FIRST)
        excess = arms.excess_loss(tuned(made), 0.0115)
        if excess.root is None or excess.nats is None:
            continue
        judged += 1
        decision = statistics.decide(excess.root, statistics.EqualityRule(math.sqrt(0.005)))
        beyond += decision.word == statistics.FAILS
    assert judged > 30 and beyond <= 2


def test_the_rules_give_the_published_rates() -> None:
    # Qwen3-0.6B 5.27e-4 and 5.27e-5, Qwen3-1.7B 4.99e-4 and 4.99e-5
    for hidden, known in ((1024, 5.27e-4), (2048, 4.99e-4)):
        assert arms.hidden_size_rate(hidden, "qwen") == pytest.approx(known, rel=1e-3)
        full = arms.hidden_size_rate(hidden, "qwen", "full")
        assert arms.ten_times(full) == pytest.approx(known, rel=1e-3)
    assert arms.hidden_size_rate(2048, "llama") == pytest.approx(4.908e-4, rel=1e-3)
    with pytest.raises(ValueError, match="family=gemma"):
        arms.hidden_size_rate(1024, "gemma")


def test_arms_at_their_own_best_rates_are_tied_though_a_shared_rate_would_part_them() -> None:
    lora = tuned(tuned_records(parabola(1e-2), FIRST))
    full = tuned(tuned_records(parabola(1e-3, noise_seed=0), FIRST, FULL))
    assert arms.contrast(full, lora, 0.02).finding == "tied"
    without = arms.contrast(full, lora)
    assert without.finding is None and without.difference is not None
    assert abs(lora.arm.losses(0.00316)[0] - full.arm.losses(0.00316)[0]) < 0.06


def test_a_worse_arm_is_found_beside_an_equal_one() -> None:
    full = tuned(tuned_records(parabola(1e-3), FIRST, FULL))
    worse = tuned(tuned_records(parabola(1e-2, floor=0.3), FIRST, ATTENTION))
    same = tuned(tuned_records(parabola(1e-2), FIRST))
    found = [arms.contrast(full, arm, 0.05) for arm in (worse, same)]
    assert [one.finding for one in found] == ["worse", "tied"]
    assert found[0].difference is not None
    assert found[0].difference.estimate == pytest.approx(0.2, abs=0.01)
    assert found[0].relative == pytest.approx(0.2 / 0.12, rel=0.1)


def test_a_difference_within_twice_the_noise_floor_is_none() -> None:
    full = tuned(tuned_records(parabola(1e-3), FIRST, FULL))
    worse = tuned(tuned_records(parabola(1e-2, floor=0.3), FIRST))
    for deviation, finding in ((0.05, "worse"), (0.15, "unresolved")):
        floor = NoiseFloor(deviation, 2 * deviation, cells=1, runs=2)
        compared = arms.contrast(full, worse, 0.05, floor=floor)
        assert compared.finding == finding
        assert ("noise_floor" in codes(compared)) == (finding == "unresolved")


def with_own_test_noise(made: list[Record], curve: Curve, generator: np.random.Generator) -> Tuned:
    """Give each run a test loss whose noise is not that of the validation loss it is chosen by."""
    for one in made:
        loss = curve(one.config["trainer"]["learning_rate"], one.config["seed"])
        one.scores["tuned"]["loss/nll"] = loss + generator.normal(0, SIGMA)
    return tuned(made)


SIGMA = 0.002
"""Standard deviation of a cell's test loss, in nats."""


@pytest.mark.slow
def test_simulated_tuned_sweeps_at_five_seeds_reach_their_levels() -> None:
    generator, sweeps = np.random.default_rng(0), 150
    margin = 2.5 * SIGMA * math.sqrt(2)  # 2.5 standard deviations of a paired difference
    found: dict[str, list[str]] = {"null": [], "twice": [], "at the margin": []}
    for number in range(sweeps):
        clean = parabola(1e-3, noise=0.0, noise_seed=number)
        made = tuned_records(parabola(1e-3, noise=SIGMA, noise_seed=number), FIRST, FULL)
        full = with_own_test_noise(made, clean, generator)
        contrasts = []
        for effect in (0.0, 2 * margin, margin):
            # what a seed does is the same in all arms; each test loss has noise of its own
            curve = shifted(parabola(1e-2, noise=0.0, noise_seed=number), effect)
            noisy = shifted(parabola(1e-2, noise=SIGMA, noise_seed=number), effect)
            arm = with_own_test_noise(tuned_records(noisy, FIRST), curve, generator)
            contrasts.append(arms.contrast(full, arm, margin))
        for name, one in zip(found, contrasts, strict=True):
            found[name].append(str(one.finding))
    error = 3 * math.sqrt(0.05 * 0.95 / sweeps)
    assert found["twice"].count("worse") / sweeps >= 0.95 - error
    assert found["null"].count("tied") / sweeps >= 0.95
    assert found["at the margin"].count("tied") / sweeps <= 0.05 + error


def shifted(curve: Curve, effect: float) -> Curve:
    return lambda rate, seed: curve(rate, seed) + effect


def broken(name: str) -> list[Record]:
    """Return records of an arm in which one thing is wrong."""
    design = Design(FIRST.low, FIRST.high, seeds=(0,)) if name == "one_seed" else FIRST
    made = tuned_records(parabola(1e-2), design)
    last = made[-1]
    if name == "missing_cells":
        made.remove(last)
    elif name == "mixed_data":
        last.identity = IDENTITY | {"data_fingerprint": "d1"}
    elif name == "mixed_code":
        last.identity = IDENTITY | {"code_sha256": "c1"}
    elif name == "mixed_base":
        last.identity = IDENTITY | {"base_sha256": "b1"}
    elif name == "mixed_environment":
        last.identity = IDENTITY | {"precision": "bf16"}
    elif name == "dirty_tree":
        last.provenance = last.provenance | {"git_dirty": True}
    elif name == "edge_optimum":
        made = [r for r in made if r.config["trainer"]["learning_rate"] >= 0.01]
    elif name == "coarse_grid":
        gone = (0.00562, 0.0178)
        made = [r for r in made if r.config["trainer"]["learning_rate"] not in gone]
    elif name == "all_diverged":
        made = [record(r.config["trainer"]["learning_rate"], r.config["seed"], None) for r in made]
    return made


@pytest.mark.parametrize(
    "name",
    [
        *("missing_cells", "one_seed", "all_diverged", "edge_optimum", "coarse_grid"),
        *("mixed_data", "mixed_code", "mixed_base", "mixed_environment", "dirty_tree"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_and_blocks_its_verdict(name: str) -> None:
    made = broken(name)
    found = tuned(made)
    assert name in codes(found)
    assert all(reason.text for reason in found.reasons)
    full = tuned(tuned_records(parabola(1e-3, floor=0.5), FIRST, FULL))
    compared = arms.contrast(full, found, 0.05)
    assert compared.finding == "unresolved"
    assert name in {reason.code for reason in arms.blocking(compared.reasons)}


def test_a_missing_cell_is_named() -> None:
    made = broken("missing_cells")
    [reason] = [r for r in tuned(made).reasons if r.code == "missing_cells"]
    assert reason.text == "not finished: 0.0178 with seed 31415"


def test_seeds_that_decide_must_be_the_same_in_both_arms() -> None:
    other = Design(FIRST.low, FIRST.high, seeds=(0, 43, 100, 977, 7))
    one = tuned(tuned_records(parabola(1e-2), FIRST))
    two = tuned(tuned_records(parabola(1e-2), other, FULL))
    assert "unequal_seeds" in codes(arms.contrast(one, two, 0.05))
    assert arms.contrast(one, two, 0.05).finding == "unresolved"


def test_a_coarser_search_of_one_arm_is_unequal_tuning() -> None:
    made = tuned_records(parabola(1e-2), FIRST)
    few = [r for r in made if 0.004 < r.config["trainer"]["learning_rate"] < 0.03]
    one, two = tuned(tuned_records(parabola(1e-2), FIRST, FULL)), tuned(few)
    [reason] = [r for r in arms.equal_tuning([one, two]) if r.code == "unequal_tuning"]
    assert "5 for" in reason.text and "3 for" in reason.text


def test_different_data_may_be_allowed_where_data_are_what_is_compared() -> None:
    one = tuned(tuned_records(parabola(1e-3), FIRST, FULL))
    identity = IDENTITY | {"data_fingerprint": "d1"}
    two = tuned(tuned_records(parabola(1e-2, floor=0.4), FIRST, identity=identity))
    assert arms.contrast(one, two, 0.05).finding == "unresolved"
    assert arms.contrast(one, two, 0.05, may_differ=("mixed_data",)).finding == "worse"


def test_other_data_by_config_are_compared_on_purpose_and_changed_files_are_not() -> None:
    one = tuned(tuned_records(parabola(1e-3), FIRST, FULL))
    identity = IDENTITY | {"data_fingerprint": "d1"}
    made = tuned_records(parabola(1e-2, floor=0.4), FIRST, identity=identity)
    assert arms.intended_differences(one, tuned(made)) == set()
    for each in made:
        each.config["data"] = {"label": "mixed", "fraction": 0.5}
    assert arms.intended_differences(one, tuned(made)) == {"mixed_data"}


def test_data_that_changed_within_an_arm_block_even_where_data_are_compared() -> None:
    one, two = tuned(tuned_records(parabola(1e-3), FIRST, FULL)), tuned(broken("mixed_data"))
    found = arms.contrast(one, two, 0.05, may_differ=("mixed_data",))
    assert "mixed_data" in codes(found) and found.finding == "unresolved"


def test_arms_without_the_score_have_no_difference() -> None:
    found = tuned(tuned_records(parabola(1e-2), FIRST))
    compared = arms.contrast(found, found, 0.05, "calls/exact")
    assert compared.difference is None and compared.finding == "unresolved"
    assert "no_score" in codes(compared)


@pytest.mark.parametrize(("rows", "finding"), [(1000, "worse"), (999, None)])
def test_exact_calls_have_a_margin_of_five_points_from_1000_rows_and_five_seeds_on(
    rows: int, finding: str | None
) -> None:
    sides = []
    for overrides, share in ((FULL, 0.9), (("lora=all_linear",), 0.7)):
        made = tuned_records(parabola(1e-2), FIRST, overrides)
        for one in made:
            one.scores["tuned"]["calls/exact"] = share + one.config["seed"] / 1e7
            one.counts = {"tuned": {"calls/exact": rows}}
            if overrides != FULL:
                one.scores["tuned"]["calls/exact"] -= one.config["seed"] / 1e6
        sides.append(tuned(made))
    full, lora = sides
    assert arms.contrast(full, lora, score="calls/exact").finding == finding
    given = arms.contrast(full, lora, 0.05, "calls/exact")
    assert given.finding == (finding or "unresolved")
    assert ("few_rows" in codes(given)) == (finding is None)


def test_a_difference_is_crossed_with_the_test_rows_where_they_are_recorded(tmp_path: Path) -> None:
    sides = []
    for overrides, shift in ((FULL, 0.0), (("lora=all_linear",), 0.3)):
        made = tuned_records(parabola(1e-2), FIRST, overrides)
        for one in made:
            by_row = [0.2 + shift * (1 + math.sin(3 * row)) for row in range(40)]
            jitter = (one.config["seed"] % 7) * (0.001 if shift else 0.002)
            one.scores["tuned"]["loss/nll"] = sum(by_row) / 40 + jitter
            one.folder = tmp_path / f"{overrides[0]}-{one.job}"
            items = [
                {"model": "tuned", "split": "test", "id": f"row-{row}", "scores": {},
                 "parts": {"loss/nll": [4 * (own + jitter), 4]}}
                for row, own in enumerate(by_row)
            ]  # fmt: skip
            records.write_items(one, items)
        sides.append(made)
    crossed = arms.contrast(tuned(sides[0]), tuned(sides[1])).difference
    for one in (each for made in sides for each in made):
        one.folder = tmp_path / "nowhere"
    seeds_only = arms.contrast(tuned(sides[0]), tuned(sides[1])).difference
    assert crossed is not None and seeds_only is not None
    assert (crossed.over, seeds_only.over) == ("seeds and rows", "seeds")
    assert crossed.estimate == pytest.approx(seeds_only.estimate, abs=1e-9)
    widths = [(one.high or 0) - (one.low or 0) for one in (crossed, seeds_only)]
    assert widths[0] > 5 * widths[1]  # the rows differ far more than the seeds


def test_arms_with_the_same_numbers_prove_nothing() -> None:
    one = tuned(tuned_records(parabola(1e-2), FIRST))
    assert "same_numbers" in codes(arms.contrast(one, one, 0.05))


def test_of_two_records_of_a_cell_the_newest_finished_one_counts() -> None:
    old, new = record(1e-2, 0, 0.5), record(1e-2, 0, 0.4)
    failed = record(1e-2, 0, 0.1, status="failed")
    arm = one_arm([new, failed, old])
    assert arm is not None and [one.loss for one in arm.runs] == [0.4]


def test_arms_are_named_by_what_is_not_the_same_in_all() -> None:
    made = [
        record(1e-2, 0, 0.5, ("lora=none", "data.train_rows=9", "tracker=none")),
        record(1e-2, 0, 0.5, ("lora=qv", "data.train_rows=9", "tracker=none")),
        record(1e-3, 1, 0.5, ("lora=qv", "data.train_rows=9", "tracker=none")),
    ]
    assert [arm.label for arm in arms.read(made)] == ["lora=none", "lora=qv"]
    assert [len(arm.runs) for arm in arms.read(made)] == [1, 2]


def test_the_noise_floor_comes_from_runs_that_were_made_again() -> None:
    first, again = record(1e-2, 0, 0.5), record(1e-2, 0, 0.52)
    other_code = record(1e-2, 0, 0.9, identity=IDENTITY | {"code_sha256": "c1"})
    floor = arms.repeats([first, again, other_code, record(1e-2, 1, 0.7)])
    assert floor is not None
    assert (floor.cells, floor.runs) == (1, 2)
    assert floor.deviation == pytest.approx(0.02 / math.sqrt(2))
    assert arms.repeats([first]) is None
    assert arms.repeats([first, first]) is None  # one run, read from two places


def test_the_table_says_rate_difference_and_finding_and_what_is_wrong() -> None:
    from experiments.analysis.arms import table

    full = tuned_records(parabola(1e-3), FIRST, FULL)
    lora = tuned_records(parabola(1e-2, floor=0.3), FIRST)
    lora[0].provenance = {"git_dirty": True}
    found = [arms.tune(arm) for arm in arms.read([*full, *lora])]
    header, rows, notes = table.lines(found, margin=0.07)
    assert len(header) == len(rows[0]) == len(rows[1])
    assert rows[0][0] == "lora=none" and rows[0][-2:] == ["reference", "-"]
    assert rows[1][1].endswith("(5 near)") and rows[1][-1] == "unresolved"
    assert notes[0].startswith("Differences are paired by seed")
    assert any("uncommitted code" in note for note in notes)
    clean = [arms.tune(arm) for arm in arms.read([*full, *lora[1:]])]
    assert table.lines([])[1] == []
    assert table.lines(clean[:1])[1][0][-2] == "reference"


def test_the_table_groups_tied_arms_in_words_and_says_what_the_seeds_can_show() -> None:
    from experiments.analysis.arms import table

    made = [
        *tuned_records(parabola(1e-3, noise_seed=0), FIRST, FULL),
        *tuned_records(parabola(1e-2), FIRST),
        *tuned_records(parabola(1e-2, floor=0.3), FIRST, ATTENTION),
    ]
    found = [arms.tune(arm) for arm in arms.read(made)]
    _, rows, notes = table.lines(found, margin=0.07)
    assert [row[-1].split()[0] for row in rows] == ["-", "tied", "worse"]
    assert re.fullmatch(r"tied within 0\.07 \([+-]0\.\d{4}, [+-]\d+\.\d%\)", rows[1][-1])
    assert [row[-1] for row in table.lines(found)[1]] == ["-", "no margin", "no margin"]
    assert any("lora=all_linear and lora=none are tied within" in n or
               "lora=none and lora=all_linear are tied within" in n for n in notes)  # fmt: skip
    assert any("lora=attention is tied with no other arm" in note for note in notes)
    assert any("lora=attention: 5 seeds have 80 % power to detect" in note for note in notes)
    narrow = table.lines(found, margin=0.2)
    assert narrow[1][2][-1] == "unresolved"
    assert any("lora=attention" in n and "a verdict would take" in n for n in narrow[2])


def test_a_seed_that_draws_its_own_training_rows_is_compared_with_its_own_newest_run() -> None:
    def drawn(
        rate: float, seed: int, data: str, code: str = "a", train_seed: Any = "seed"
    ) -> Record:
        made = record(rate, seed, 0.2)
        made.config = made.config | {"data": {"train_seed": train_seed}}
        made.identity = made.identity | {"data_fingerprint": data, "training_code": code}
        made.started_at = f"2026-01-01T00:00:{len(every):02}"
        every.append(made)
        return made

    every: list[Record] = []
    old = drawn(1e-2, 0, "rows of 0, before an edit")
    kept = [drawn(1e-2, 0, "rows of 0"), drawn(1e-2, 43, "rows of 43")]
    assert arms.unchanged([old, *kept]) == kept
    newer = drawn(2e-2, 43, "rows of 43", code="b")
    assert arms.unchanged([old, *kept, newer]) == [newer]
    shared = [drawn(1e-2, seed, f"rows of {seed}", train_seed=None) for seed in (0, 43)]
    assert arms.unchanged(shared) == shared[1:]
    assert arms.unchanged([]) == []
