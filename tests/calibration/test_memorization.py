"""Bits of random facts: exact where they are known, and what LoRA holds of them."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.calibration import memorization, memorization_training
from experiments.calibration.memorization_training import MemorizationSettings, Training

SMALL = MemorizationSettings(ranks=(1, 2), seeds=(0,), passes=60, rows=64, asked=0.2)
MADE = Training(
    rank=1, rate=1e-3, seed=0, passes=8, parameters=100, table_bits=600.0, bits=200.0,
    curve={2: 50.0, 6: 150.0, 8: 200.0}, seconds=1.0,
)  # fmt: skip


def at(rate: float, bits: float, **changes: Any) -> Training:
    return dataclasses.replace(MADE, rate=rate, bits=bits, **changes)


def test_a_table_that_is_wholly_known_is_held_with_all_its_bits() -> None:
    known = memorization_training.table(SMALL, 1000, seed=0)
    values = known.facts_FT[:, known.key_tokens :].flatten()
    logits = torch.full((len(values), SMALL.words), -1e4)
    logits[torch.arange(len(values)), values] = 0.0
    assert known.bits == len(known.facts_FT) * SMALL.value_tokens * 8
    assert memorization_training.bits_held(logits, values) == known.bits


def test_a_uniform_guess_holds_nothing_and_a_wrong_certainty_less() -> None:
    values = torch.arange(16)
    assert memorization_training.bits_held(torch.full((16, 16), 3.0), values) == pytest.approx(
        0, abs=1e-10
    )
    # Half of the probability on the right word is 1 bit short of all 4.
    logits = torch.full((16, 16), math.log(0.5 / 15))
    logits[values, values] = math.log(0.5)
    assert memorization_training.bits_held(logits, values) == pytest.approx(16 * 3, rel=1e-6)
    assert memorization_training.bits_held(torch.eye(16).roll(1, 0) * 50, values) < 0


def test_a_table_asks_for_its_bits_with_keys_that_differ_and_comes_from_its_seed() -> None:
    one, again, other = (memorization_training.table(SMALL, 10_000, seed) for seed in (0, 0, 1))
    assert 2000 <= one.bits < 2000 + 16
    keys = one.facts_FT[:, : SMALL.key_tokens]
    assert len(torch.unique(keys, dim=0)) == len(keys)
    assert torch.equal(one.facts_FT, again.facts_FT)
    assert not torch.equal(one.facts_FT, other.facts_FT)


@pytest.mark.slow
def test_lora_holds_some_bits_of_a_table_and_more_parameters_hold_more() -> None:
    made = [memorization_training.train(SMALL, rank, 2e-3, 0, SMALL.passes) for rank in (1, 2)]
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

    found = memorization.tuned((5e-4, 1e-3, 2e-3), train_at)
    assert set(found) == tried
    assert memorization.best(found) == min(tried, key=lambda rate: abs(math.log(rate / peak)))


def test_a_rate_that_diverged_is_not_the_best_one() -> None:
    assert memorization.best({1e-3: at(1e-3, 5.0), 2e-3: at(2e-3, math.nan)}) == 1e-3


def test_bits_a_parameter_are_the_slope_over_ranks_without_what_each_rank_pays_alike() -> None:
    runs = [at(1e-3, 2.0 * p - 70, parameters=p) for p in (100, 200, 400)]
    assert memorization.slope(runs) == pytest.approx(2.0)


def test_the_last_quarter_is_what_was_added_after_three_quarters() -> None:
    assert MADE.last_quarter == pytest.approx(0.25)


def test_a_number_that_is_no_capacity_says_why() -> None:
    grid = {1: {r: at(r, b) for r, b in ((1e-3, 5.0), (2e-3, 9.0), (4e-3, 8.0))}}
    edge = {1: {r: at(r, b) for r, b in ((1e-3, 5.0), (2e-3, 9.0))}}
    assert memorization.reasons({1: 0.04}, grid, [MADE]) == []
    [moving] = memorization.reasons({1: 0.04, 2: 0.08}, grid, [MADE])
    assert "lower bound" in moving and "added 8.0% of the bits at rank 2" in moving
    [on_edge] = memorization.reasons({1: 0.04}, edge, [MADE])
    assert on_edge == "the best learning rate of rank 1, 0.002, is on the edge of its grid"
    [held] = memorization.reasons({1: 0.04}, grid, [at(1e-3, 400.0)])
    assert held.startswith("67% of a table is memorised")
    [stuck] = memorization.reasons({1: 0.04}, grid, [MADE, at(1e-3, -3.0, seed=1)])
    assert stuck.startswith("1 of 2 training runs learned nothing (first: rank 1, seed 1)")
    assert len(memorization.reasons({1: math.nan}, grid, [MADE])) == 1


def test_a_measurement_names_its_trainings_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, float, int, int]] = []

    def train(
        plan: MemorizationSettings, rank: int, rate: float, seed: int, passes: int
    ) -> Training:
        made.append((rank, rate, seed, passes))
        bits = 100.0 * rank * (1 + seed) * (1 - abs(rate - 1e-3)) - 100 / passes
        return at(rate, bits, rank=rank, seed=seed, passes=passes, parameters=100 * rank,
                  curve={passes - 1: bits, passes: bits})  # fmt: skip

    monkeypatch.setattr(memorization, "train", train)
    plan, kept = dataclasses.replace(SMALL, seeds=(0, 1)), tmp_path / "new" / "trainings.jsonl"
    found = memorization.measure(plan, kept)
    assert found["values"]["bits_per_parameter"] == pytest.approx([1.0, 2.0])
    assert made[-4:] == [(1, 1e-3, 0, 60), (2, 1e-3, 0, 60), (1, 1e-3, 1, 60), (2, 1e-3, 1, 60)]
    assert [(run["rank"], run["seed"]) for run in found["trainings"]] == [
        (1, 0), (2, 0), (1, 1), (2, 1),
    ]  # fmt: skip
    assert {run["passes"] for run in found["tuning"]} == {30}
    # Twice the passes: 100/30 - 100/60 of the 100 - 100/60 bits of rank 1, and of 200 at rank 2.
    doubled = [1 - (size - 100 / 30) / (size - 100 / 60) for size in (100, 200)]
    assert found["values"]["added_by_twice_the_passes"] == pytest.approx(doubled, rel=1e-6)
    text, count = kept.read_text(encoding="utf-8"), len(made)
    kept.write_text(text[:-20], encoding="utf-8")  # the last line was not finished
    assert memorization.measure(plan, kept) == found
    assert made[count:] == [(2, 1e-3, 1, 60)]
    assert memorization.measure(plan, kept) == found and len(made) == count + 1
    memorization.measure(dataclasses.replace(plan, rows=32), kept)
    assert len(made) == 2 * count + 1  # another plan begins anew
