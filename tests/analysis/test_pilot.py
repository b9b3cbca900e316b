"""A pilot: the noise of differences, the margins that it affords, the hours, and what it lacks."""

import math

import numpy as np
import pytest

from experiments.analysis import statistics
from experiments.analysis.arms import pilot
from experiments.analysis.statistics import EqualityRule, Spread
from experiments.errors import ConfigError
from experiments.records import Record
from support.arm_records import record

FULL, LORA = ("lora=none",), ("lora=all_linear",)


def arm(
    overrides: tuple[str, ...], seeds: tuple[int, ...], noise: float, loss: float = 0.1
) -> list[Record]:
    own = np.random.default_rng(len(overrides[0])).normal(0, noise, len(seeds))
    return [
        record(1e-2, seed, loss + 0.01 * seed + float(own[k]), overrides,
               timing={"total_seconds": 1800.0})
        for k, seed in enumerate(seeds)
    ]  # fmt: skip


def test_a_pilot_gives_the_deviation_of_paired_differences_and_the_hours_of_a_run() -> None:
    made = [*arm(FULL, (0, 1, 2), 0.002), *arm(LORA, (0, 1, 2), 0.004)]
    found = pilot.read(made, "loss/nll")
    [noise] = found.noises
    losses = [[r.scores["tuned"]["loss/nll"] for r in made[at : at + 3]] for at in (0, 3)]
    gaps = [b - a for a, b in zip(*losses, strict=True)]
    assert noise.estimate.deviation == pytest.approx(np.std(gaps, ddof=1))
    assert (found.reference, noise.arm, found.hours) == ("lora=none", "lora=all_linear", 0.5)


def test_its_margins_have_the_promised_power_and_shrink_with_seeds() -> None:
    found = pilot.read([*arm(FULL, (0, 1, 2), 0.0), *arm(LORA, (0, 1, 2), 0.004)], "loss/nll")
    [noise] = found.noises
    margins = [margin for margin in noise.margins() if margin is not None]
    assert len(margins) == len(pilot.SEEDS) and margins == sorted(margins, reverse=True)
    for margin, seeds in zip(margins, pilot.SEEDS, strict=True):
        spread = Spread.of(noise.estimate)
        chances = statistics.word_chances(EqualityRule(margin), 0.0, spread, seeds)
        assert chances.holds == pytest.approx(statistics.POWER, abs=0.02)


def test_its_lines_show_noise_margins_and_hours_but_no_difference() -> None:
    made = [*arm(FULL, (0, 1, 2), 0.0), *arm(LORA, (0, 1, 2), 0.004, loss=1.234)]
    header, rows, notes = pilot.lines(pilot.read(made, "loss/nll"))
    assert header[:4] == ["arm - lora=none", "seeds", "SD over seeds", "SE of rows"]
    assert header[4:] == [f"{size}, {n} seeds" for size in ("margin", "delta") for n in (3, 5, 8)]
    assert [len(row) for row in rows] == [len(header)] and rows[0][3] == "-"
    assert "1.13" not in " ".join([*rows[0], *notes])
    assert any("Without scores by test row for lora=all_linear" in note for note in notes)
    assert notes[-1] == (
        "Hours: 0.5 per run; to tune an arm 6.5 with 3 seeds (13 at most), 9.5 with 5 seeds "
        "(19 at most), 14 with 8 seeds (28 at most)."
    )


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ([], "arms with finished runs: none; a pilot compares at least two"),
        (arm(FULL, (0, 1), 0.002), "arms with finished runs: defaults; a pilot compares"),
        (
            [*arm(FULL, (0,), 0.002), *arm(LORA, (0,), 0.002)],
            "lora=all_linear and lora=none share 1 seed with loss/nll at their best learning "
            "rates; a pilot needs at least 2, better 3: hydra.sweeper.seeds=[0,43,100].",
        ),
        (
            [*arm(FULL, (0, 1), 0.002), *arm(LORA, (2, 3), 0.002)],
            "lora=all_linear and lora=none share 0 seeds",
        ),
    ],
)
def test_a_pilot_of_one_arm_or_without_two_shared_seeds_is_refused(
    made: list[Record], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        pilot.read(made, "loss/nll")
    assert sentence in str(caught.value)


def test_without_recorded_times_the_hours_are_unknown() -> None:
    made = [*arm(FULL, (0, 1), 0.002), *arm(LORA, (0, 1), 0.002)]
    for one in made:
        one.timing = {}
    found = pilot.read(made, "loss/nll")
    assert found.hours is None
    assert pilot.lines(found)[2][-1] == "Hours: unknown, as no run recorded its time."
    assert all(margin is None or math.isfinite(margin) for margin in found.noises[0].margins())
