"""Bits of random facts: exact where they are known, and what LoRA holds of them."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from experiments import capacity
from experiments.capacity import Plan, Training

SMALL = Plan(ranks=(1, 2), seeds=(0,), passes=80, rows=32, asked=0.4)
MADE = Training(
    rank=1, rate=1e-3, seed=0, passes=8, parameters=100, table_bits=600.0, bits=200.0,
    curve={2: 50.0, 6: 150.0, 8: 200.0}, seconds=1.0,
)  # fmt: skip


def at(rate: float, bits: float, **changes: Any) -> Training:
    return dataclasses.replace(MADE, rate=rate, bits=bits, **changes)


def test_a_table_that_is_wholly_known_is_held_with_all_its_bits() -> None:
    known = capacity.table(SMALL, 1000, seed=0)
    values = known.facts_FT[:, known.key_tokens :].flatten()
    logits = torch.full((len(values), SMALL.words), -1e4)
    logits[torch.arange(len(values)), values] = 0.0
    assert known.bits == len(known.facts_FT) * SMALL.value_tokens * 8
    assert capacity.bits_held(logits, values) == known.bits


def test_a_uniform_guess_holds_nothing_and_a_wrong_certainty_less() -> None:
    values = torch.arange(16)
    assert capacity.bits_held(torch.full((16, 16), 3.0), values) == pytest.approx(0, abs=1e-10)
    # Half of the probability on the right word is 1 bit short of all 4.
    logits = torch.full((16, 16), math.log(0.5 / 15))
    logits[values, values] = math.log(0.5)
    assert capacity.bits_held(logits, values) == pytest.approx(16 * 3, rel=1e-6)
    assert capacity.bits_held(torch.eye(16).roll(1, 0) * 50, values) < 0


def test_a_table_asks_for_its_bits_with_keys_that_differ_and_comes_from_its_seed() -> None:
    one, again, other = (capacity.table(SMALL, 10_000, seed) for seed in (0, 0, 1))
    assert 4000 <= one.bits < 4000 + 16
    keys = one.facts_FT[:, : SMALL.key_tokens]
    assert len(torch.unique(keys, dim=0)) == len(keys)
    assert torch.equal(one.facts_FT, again.facts_FT)
    assert not torch.equal(one.facts_FT, other.facts_FT)


def test_lora_holds_some_bits_of_a_table_and_more_parameters_hold_more() -> None:
    made = [capacity.train(SMALL, rank, 2e-3, 0, SMALL.passes) for rank in (1, 2)]
    # Twice the facts at the same share would be twice the bits.
    for one in made:
        assert 0 < one.bits <= one.table_bits
        assert list(one.curve) == sorted(one.curve)
        assert one.curve[SMALL.passes] == one.bits
    assert made[1].parameters == 2 * made[0].parameters
    assert made[1].bits > 1.2 * made[0].bits


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (1e-3, {5e-4, 1e-3, 2e-3}),
        (4e-3, {5e-4, 1e-3, 2e-3, 4e-3, 8e-3}),
        (2.5e-4, {5e-4, 1e-3, 2e-3, 2.5e-4, 1.25e-4}),
        (1.0, {5e-4, 1e-3, 2e-3, 4e-3, 8e-3}),
    ],
)
def test_the_grid_of_rates_grows_while_the_best_is_on_its_edge(
    peak: float, tried: set[float]
) -> None:
    def train_at(rate: float) -> Training:
        return at(rate, -abs(math.log(rate / peak)))

    found = capacity.tuned((5e-4, 1e-3, 2e-3), train_at)
    assert set(found) == tried
    assert capacity.best(found) == min(tried, key=lambda rate: abs(math.log(rate / peak)))


def test_a_rate_that_diverged_is_not_the_best_one() -> None:
    assert capacity.best({1e-3: at(1e-3, 5.0), 2e-3: at(2e-3, math.nan)}) == 1e-3


def test_bits_a_parameter_are_the_slope_over_ranks_without_what_each_rank_pays_alike() -> None:
    runs = [at(1e-3, 2.0 * p - 70, parameters=p) for p in (100, 200, 400)]
    assert capacity.slope(runs) == pytest.approx(2.0)


def test_the_last_quarter_is_what_was_added_after_three_quarters() -> None:
    assert MADE.last_quarter == pytest.approx(0.25)


def test_a_number_that_is_no_capacity_says_why() -> None:
    grid = {1: {r: at(r, b) for r, b in ((1e-3, 5.0), (2e-3, 9.0), (4e-3, 8.0))}}
    edge = {1: {r: at(r, b) for r, b in ((1e-3, 5.0), (2e-3, 9.0))}}
    assert capacity.reasons({1: 0.04}, grid, [MADE]) == []
    [moving] = capacity.reasons({1: 0.04, 2: 0.08}, grid, [MADE])
    assert "lower bound" in moving and "added 8.0% of the bits at rank 2" in moving
    [on_edge] = capacity.reasons({1: 0.04}, edge, [MADE])
    assert on_edge == "the best rate of rank 1, 0.002, is on the edge of its grid"
    [held] = capacity.reasons({1: 0.04}, grid, [at(1e-3, 400.0)])
    assert held.startswith("67% of a table is held")
    assert len(capacity.reasons({1: math.nan}, grid, [MADE])) == 1


def test_a_measurement_names_its_trainings_and_a_number_a_seed() -> None:
    quick = dataclasses.replace(SMALL, passes=2, asked=0.1, seeds=(0, 1))
    found = capacity.measure(quick)
    assert len(found["values"]["bits_per_parameter"]) == 2
    assert len(found["values"]["added_by_twice_the_passes"]) == 2
    assert [(run["rank"], run["seed"]) for run in found["trainings"]] == [
        (1, 0), (2, 0), (1, 1), (2, 1),
    ]  # fmt: skip
    assert found["tuning"][0]["passes"] == 1
    assert found["reasons"]  # two passes are no rest
