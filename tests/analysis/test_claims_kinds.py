"""Kinds of claims beside differences and rates, on records whose truth is known."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis import claims
from experiments.analysis.claims import Claim
from experiments.records import Record
from experiments.reports import claims_table
from support.claim_records import cell, mistakes, verdict

TREND = Claim(
    number="C8", sentence="The gap grows.", source="a paper", kind="trend", of="gap", sweep="mine",
    arm={"lora.method": "lora"}, reference={"lora.method": "none"}, along="trainer.batch_size",
    values=[8, 32, 128], low=0,
)  # fmt: skip
LEVEL = dataclasses.replace(
    TREND, low=None, margin=0.05, margin_source="the user", unit="nats per token"
)
RATIOS = dataclasses.replace(
    TREND, of="rate_ratio", low=-0.3, high=0.3, rival=1, along="model.embedded",
    values=["w64", "w128", "w256"], numbers=[64, 128, 256],
)  # fmt: skip
BEST = dataclasses.replace(TREND, kind="best_of", of=None, low=None, at_most=32)
MEASURED = Claim(
    number="C18", sentence="It is exact.", source="a paper", kind="measured", measured="invariance",
    key="difference", high=1e-10,
)  # fmt: skip


def batches(gaps: Sequence[float], noise: float = 0.0005) -> list[Record]:
    made = []
    for size, gap in zip((8, 32, 128), gaps, strict=True):
        at = {"batch_size": size}
        made += cell("none", 1e-3, 0.1, noise, size, trainer=at)
        made += cell("lora", 1e-2, 0.1 + gap, noise, size + 1, trainer=at)
    return made


@pytest.mark.parametrize(
    ("claim", "gaps", "word"),
    [
        (TREND, (0.0, 0.1, 0.2), "holds here"),
        (TREND, (0.2, 0.1, 0.0), "does not hold here"),
        (TREND, (0.1, 0.1, 0.1), "unresolved"),  # level, and no smallest slope is asserted
        (LEVEL, (0.1, 0.1, 0.1), "holds here"),
        (LEVEL, (0.0, 0.1, 0.2), "does not hold here"),
    ],
)
def test_a_gap_grows_falls_or_stays_along_a_key(
    claim: Claim, gaps: Sequence[float], word: str
) -> None:
    found = verdict(claim, batches(gaps))
    assert (found.word, found.seeds) == (word, 5)
    assert bool(found.missing) == (word == "unresolved")
    assert found.effect is not None
    assert found.effect.estimate == pytest.approx((gaps[2] - gaps[0]) / 4, abs=0.005)


def test_a_trend_within_the_noise_is_unresolved_and_says_how_many_seeds_would_decide() -> None:
    found = verdict(LEVEL, batches((0.1, 0.12, 0.14), noise=0.02))
    assert found.word == "unresolved"
    assert found.needed is not None and "a verdict would take" in found.needed


def test_a_level_trend_without_a_margin_has_an_estimate_and_no_verdict() -> None:
    found = verdict(dataclasses.replace(LEVEL, margin=None), batches((0.1, 0.1, 0.1)))
    assert found.word == "unresolved" and found.effect is not None
    assert "no margin was fixed before the outcomes were seen" in found.missing[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda one: one.config["trainer"]["batch_size"] != 32, "no run of the arm (lora.method"),
        (lambda one: one.config["seed"] != 43 or one.config["trainer"]["batch_size"] != 32,
         "the seeds differ between values"),
    ],
)  # fmt: skip
def test_a_missing_value_or_seed_is_a_reason_and_no_slope(
    spoil: Callable[[Record], bool], words: str
) -> None:
    found = verdict(TREND, [one for one in batches((0.0, 0.1, 0.2)) if spoil(one)])
    assert (found.word, found.effect) == ("unresolved", None)
    assert any(words in text for text in found.missing)


def test_arms_of_other_data_at_one_value_are_not_compared_even_where_values_may_differ() -> None:
    claim = dataclasses.replace(TREND, may_differ=["mixed_data"])
    made = batches((0.0, 0.1, 0.2))
    for one in made:
        size = one.config["trainer"]["batch_size"]
        one.identity = one.identity | {"data_fingerprint": f"d{size}"}
    assert verdict(claim, made).word == "holds here"
    assert "different data sets" in verdict(TREND, made).missing[0]
    for one in made:
        if one.config["trainer"]["batch_size"] == 8 and one.config["lora"]["method"] == "none":
            one.identity = one.identity | {"data_fingerprint": "other"}
    found = verdict(claim, made)
    assert found.word == "unresolved" and "at trainer.batch_size 8" in found.missing[0]


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ((10, 10, 10), "holds here"),
        ((2, 4, 8), "does not hold here"),
        ((10, 12.5, 15.1), "unresolved"),  # a slope of 0.3
    ],
)
def test_a_ratio_of_rates_is_held_against_the_slope_that_theories_give_it(
    ratios: Sequence[float], word: str
) -> None:
    made = []
    for width, ratio in zip((64, 128, 256), ratios, strict=True):
        made += cell("none", 1e-3, model={"embedded": f"w{width}"})
        made += cell("lora", 1e-3 * ratio, noise_seed=width, model={"embedded": f"w{width}"})
    found = verdict(RATIOS, made)
    assert found.word == word and found.effect is not None
    slope = math.log10(ratios[2] / ratios[0]) / math.log10(4)
    assert found.effect.estimate == pytest.approx(slope, abs=0.1)
    for one in made:
        one.identity = one.identity | {"base_sha256": one.config["model"]["embedded"]}
    bases = verdict(dataclasses.replace(RATIOS, may_differ=["mixed_base"]), made)
    assert bases.word == "unresolved"
    assert "are 3 bases, which are the sample here" in bases.missing[0]


@pytest.mark.parametrize(
    ("losses", "noise", "word"),
    [
        ((0.1, 0.2, 0.3), 0.0005, "holds here"),
        ((0.3, 0.2, 0.1), 0.0005, "does not hold here"),
        ((0.2, 0.2, 0.2), 0.02, "unresolved"),
    ],
)
def test_the_best_value_is_low_if_it_leads_every_higher_one_in_both_arms(
    losses: Sequence[float], noise: float, word: str
) -> None:
    made = []
    for size, floor in zip((8, 32, 128), losses, strict=True):
        at = {"batch_size": size}
        made += cell("none", 1e-3, floor, noise, size, trainer=at)
        made += cell("lora", 1e-2, floor, noise, size + 1, trainer=at)
    found = verdict(BEST, made)
    assert found.word == word, found.effect
    assert found.missing if word == "unresolved" else not found.missing
    lacking = [one for one in made if one.config["trainer"]["batch_size"] != 128]
    assert "no run of the arm" in verdict(BEST, lacking).missing[0]


CLEAN = {"git_commit": "a" * 40, "git_dirty": False}


@pytest.mark.parametrize(
    ("values", "provenance", "word"),
    [
        (3e-14, CLEAN, "holds here"),
        ([3e-14, 1e-3], CLEAN, "unresolved"),
        ([2e-3, 1e-3], CLEAN, "does not hold here"),
        (3e-14, CLEAN | {"git_dirty": True}, "unresolved"),
        (math.nan, CLEAN, "unresolved"),
        (None, CLEAN, "unresolved"),
    ],
)
def test_a_measured_number_must_lie_in_the_range_with_all_its_values(
    values: Any, provenance: dict[str, Any], word: str
) -> None:
    tree = {"values": {"difference": values}, "scope": "one machine", "provenance": provenance}
    found = verdict(MEASURED, [], tree)
    assert found.word == word
    assert bool(found.missing) == (word == "unresolved")


def test_several_measured_numbers_are_a_range_and_no_interval() -> None:
    tree = {"values": {"difference": [1e-12, 3e-14]}, "provenance": CLEAN}
    effect = verdict(MEASURED, [], tree).effect
    assert effect is not None
    assert (effect.estimate, effect.low, effect.high) == (1e-12, None, None)
    assert effect.name == "difference, the most extreme of 2 values from 3e-14 to 1e-12"


@pytest.mark.parametrize("value", [3e-14, 1e-3])
def test_a_measured_number_that_is_only_a_lower_bound_has_no_verdict(value: float) -> None:
    tree = {"values": {"difference": value}, "provenance": CLEAN}
    assert verdict(MEASURED, [], tree | {"reasons": []}).word != "unresolved"
    found = verdict(MEASURED, [], tree | {"reasons": ["training has not converged"]})
    assert (found.word, found.missing) == ("unresolved", ("training has not converged",))


def test_a_measured_number_is_read_from_its_file_or_the_line_that_makes_it_is_named(
    tmp_path: Path,
) -> None:
    assert claims.measured_for([MEASURED, TREND], tmp_path) == {"invariance": {}}
    [missing] = verdict(MEASURED, []).missing
    assert missing.endswith("python -m experiments.calibration.numerical_checks invariance")
    (folder := tmp_path / "reports" / "measured").mkdir(parents=True)
    tree = {"values": {"difference": 0.0}, "provenance": CLEAN}
    (folder / "invariance.json").write_text(json.dumps(tree), encoding="utf-8")
    read = claims.measured_for([MEASURED], tmp_path)
    [found] = claims.judge([MEASURED], {}, read)
    assert found.word == "holds here"
    (folder / "invariance.json").write_text("{", encoding="utf-8")
    assert claims.measured_for([MEASURED], tmp_path) == {"invariance": {}}


@pytest.mark.slow
def test_a_trend_at_the_edge_of_chance_falls_in_a_large_primary_family(tmp_path: Path) -> None:
    made = batches((0.1, 0.14, 0.18), noise=0.03)
    primary = dataclasses.replace(TREND, primary=True)
    alone = claims.judge([primary], {"mine": made})
    many = claims.judge([primary] * 20, {"mine": made})
    assert alone[0].word == "holds here"
    assert {one.word for one in many} == {"unresolved"}
    assert "after Holm's adjustment" in many[0].missing[-1]
    assert {one.word for one in claims.judge([TREND] * 20, {"mine": made})} == {"holds here"}
    claims_table.write([*alone, verdict(BEST, []), verdict(MEASURED, [])], tmp_path)
    data = json.loads((tmp_path / "claims.json").read_text())["claims"]
    assert [one["word"] for one in data] == ["holds here", "unresolved", "unresolved"]
    assert 0 < data[0]["p"] < 0.05


@pytest.mark.parametrize(
    ("claim", "changes", "sentence"),
    [
        (TREND, {"of": "gaps"}, "of=gaps: did you mean 'gap'?"),
        (TREND, {"along": None}, "along and values must name a config key and at least 3"),
        (TREND, {"values": [8, 32]}, "along and values must name a config key and at least 3"),
        (RATIOS, {"low": None, "high": None}, "low and high are missing"),
        (RATIOS, {"numbers": [64]}, "numbers has 1 entries but values has 3: give one"),
        (RATIOS, {"numbers": []}, "values=['w64', 'w128', 'w256']: give numbers above 0"),
        (RATIOS, {"low": 1.0}, "low=1.0 and high=0.3: low must be below high"),
        (RATIOS, {"margin": 0.05}, "margin=0.05: only a gap has a margin; give low and high"),
        (BEST, {"at_most": 4}, "at_most=4.0: give the largest value that may be the best one"),
        (BEST, {"at_most": 128}, "at_most=128.0: no value is above it"),
        (MEASURED, {"key": None}, "measured and key must name a file in outputs/reports/measured"),
        (MEASURED, {"high": None}, "low and high are missing"),
    ],
)
def test_a_mistake_in_a_claim_of_each_kind_is_one_sentence(
    tmp_path: Path, claim: Claim, changes: dict[str, Any], sentence: str
) -> None:
    assert f"one.yaml: {sentence}" in mistakes(tmp_path, claim, changes)


@pytest.mark.parametrize("kind", ["rate_ratio", "rule_excess_loss"])
def test_an_arm_that_is_mixed_in_itself_gives_no_verdict_whatever_may_differ(kind: str) -> None:
    claim = Claim(
        number="C5", sentence="It is ten.", source="a paper", kind=kind, sweep="mine",
        arm={"lora.method": "lora"}, reference={"lora.method": "none"}, low=5, high=20,
        rule="ten_times", margin=0.05, margin_source="the user", unit="share of the lowest loss",
        may_differ=["mixed_data"],
    )  # fmt: skip
    made = [*cell("none", 1e-3), *cell("lora", 1e-2)]
    assert not any("different data sets" in text for text in verdict(claim, made).missing)
    changed = next(one for one in made if one.config["lora"]["method"] == "lora")
    changed.identity = changed.identity | {"data_fingerprint": "other"}
    found = verdict(claim, made)
    assert found.word == "unresolved"
    assert any("different data sets" in text for text in found.missing)
