"""Claims that are judged at 3 and at 5 seeds, each with its share of alpha."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis import claims, statistics
from experiments.analysis.claims import Claim, ClaimVerdict, claim_files, design
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.reports import claims_table
from support.claim_records import SEEDS, cell, mistakes, verdict

LOOKS = Claim(
    number="C1", sentence="LoRA is worse.", source="a paper", sweep="mine", id="mine",
    arm={"lora.method": "lora"}, reference={"lora.method": "none"}, expects="worse", looks=True,
)  # fmt: skip
ONCE = dataclasses.replace(LOOKS, looks=False)
FIRST = SEEDS[:3]


def both(gaps: Sequence[float], seeds: Sequence[int] = SEEDS) -> list[Record]:
    """Return the runs of two arms with these differences of the test loss by seed."""
    by_seed = dict(zip(SEEDS, gaps, strict=False))
    made = [*cell("none", 1e-2, noise=0), *cell("lora", 1e-2, noise=0)]
    for one in made:
        if one.config["lora"]["method"] == "lora":
            one.scores["tuned"]["loss/nll"] += by_seed[one.config["seed"]]
    return started_in_order([one for one in made if one.config["seed"] in seeds], SEEDS)


def started_in_order(made: list[Record], seeds: Sequence[int]) -> list[Record]:
    for one in made:
        one.started_at = f"2026-01-0{1 + seeds.index(one.config['seed'])}T00:00:00"
    return made


def row(found: ClaimVerdict) -> str:
    return " ".join(claims_table.text([found], 4000).split())


CLEAR = (0.10, 0.101, 0.099, 0.1, 0.102)
LATER = (0.10, 0.08, 0.12, 0.1, 0.09)
"""Three seeds exclude 0 at 95 % but not at 99.5 %; five exclude it."""


@pytest.mark.parametrize(
    ("gaps", "seeds", "word", "at"),
    [
        (CLEAR, FIRST, "holds here", "look at 3 seeds: the 99.5 % interval decides"),
        (LATER, FIRST, "unresolved", "look at 3 seeds: the 99.5 % interval decides"),
        (LATER, SEEDS[:4], "unresolved", "look at 3 seeds: the 99.5 % interval decides"),
        (LATER, SEEDS, "holds here", "look at 5 seeds: the 95.5 % interval decides"),
    ],
)
def test_a_look_decides_at_its_own_alpha_and_the_row_says_which(
    gaps: Sequence[float], seeds: Sequence[int], word: str, at: str
) -> None:
    found = verdict(LOOKS, both(gaps, seeds))
    assert (found.word, at in row(found)) == (word, True)
    if word == "unresolved":
        text = "the look at 3 seeds does not decide: the next is at 5 seeds"
        assert found.missing == (text,)


def test_without_looks_three_seeds_give_no_verdict_and_five_are_judged_at_five_per_cent() -> None:
    few = verdict(ONCE, both(CLEAR, FIRST))
    assert few.word == "unresolved"
    assert "3 seeds at the best learning rates; 5 are required" in few.missing[0]
    whole = verdict(ONCE, both(LATER))
    assert whole.word == "holds here" and "look" not in row(whole)
    two = verdict(LOOKS, both(CLEAR, SEEDS[:2]))
    assert two.word == "unresolved"
    assert any("2 seeds at the best learning rates; 3 are required" in t for t in two.missing)


def with_classes(made: list[Record]) -> list[Record]:
    """Split the losses so that all tokens but prose, 90 %, differ as LATER."""
    by_seed = dict(zip(SEEDS, LATER, strict=True))
    for one in made:
        whole = one.scores["tuned"]["loss/nll"]
        lora = one.config["lora"]["method"] == "lora"
        gap = by_seed[one.config["seed"]] - CLEAR[SEEDS.index(one.config["seed"])] if lora else 0.0
        one.counts = {"tuned": {"loss/nll": 100, "loss/nll_prose": 10, "loss/nll_json_syntax": 90}}
        one.scores["tuned"]["loss/nll_json_syntax"] = whole + gap
        one.scores["tuned"]["loss/nll_prose"] = whole - 9 * gap
    return made


def test_a_class_that_carries_a_word_is_found_at_the_level_of_its_look() -> None:
    found = verdict(LOOKS, with_classes(both(CLEAR, FIRST)))
    assert found.word == "unresolved"
    assert "without prose, 10.0% of the tokens, the difference is +0.1 [-0.0" in found.missing[0]
    once = dataclasses.replace(ONCE, seeds=3)
    assert verdict(once, with_classes(both(CLEAR, FIRST))).word == "holds here"


def test_the_p_value_of_a_look_is_that_of_both_looks_together() -> None:
    primary = dataclasses.replace(LOOKS, primary=True)
    estimate = statistics.seed_estimate(CLEAR[:3])
    rule = statistics.RangeRule(0.0, None)
    alone = statistics.decide(estimate, rule, 0.005)
    found = verdict(primary, both(CLEAR, FIRST))
    assert found.p == pytest.approx(alone.p * 0.05 / 0.005, rel=1e-3)


def test_the_first_verdict_stays_and_what_all_seeds_say_is_beside_it() -> None:
    found = verdict(LOOKS, both((0.10, 0.101, 0.099, -0.2, -0.3)))
    assert (found.word, found.seeds) == ("holds here", 3)
    assert "look at 3 seeds" in row(found) and "; all 5 seeds: -0.04 [" in row(found)


def test_the_seeds_of_the_first_look_are_those_that_were_started_first() -> None:
    made = started_in_order(both((-0.2, -0.3, 0.10, 0.101, 0.099)), SEEDS[::-1])
    found = verdict(LOOKS, made)
    assert (found.word, found.seeds) == ("holds here", 3)
    assert found.effect is not None and found.effect.estimate == pytest.approx(0.1, abs=0.01)


def test_an_arm_that_is_ahead_of_the_other_is_compared_in_the_seeds_of_both() -> None:
    made = [
        one
        for one in both(CLEAR)
        if one.config["lora"]["method"] == "none" or one.config["seed"] in FIRST
    ]
    found = verdict(LOOKS, made)
    assert (found.word, found.seeds) == ("holds here", 3)


def test_looks_that_were_decided_on_after_the_first_run_count_for_new_runs_only() -> None:
    made = both(CLEAR)
    once = design.frozen(design.FrozenDesign(), [ONCE], {}, {}, "2025-12-01")
    late = design.frozen(once, [LOOKS], {}, {}, "2026-02-01")
    [found] = claims.judge([LOOKS], {"mine": made}, {}, late)
    assert found.word == "unresolved"
    assert "looks of the rule was set after the first run" in found.missing[0]
    early = design.frozen(design.FrozenDesign(), [LOOKS], {}, {}, "2025-12-01")
    [found] = claims.judge([LOOKS], {"mine": made}, {}, early)
    assert found.word == "holds here"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": 8}, "seeds=8: with looks=true the last look is at 5 seeds"),
        ({"kind": "spectra", "expects": None, "low": 1.0, "high": 2.0},
         "looks=true: kind spectra has no looks, only difference and reaches_full"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_claim_with_looks_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert f"one.yaml: {sentence}" in mistakes(tmp_path, LOOKS, changes)
    assert not list(claim_files.problems(LOOKS))


def test_a_design_that_was_frozen_with_other_looks_is_refused(tmp_path: Path) -> None:
    text = design.as_text(design.frozen(design.FrozenDesign(), [LOOKS], {}, {}, "2026-01-01"))
    tree = json.loads(text)
    tree["looks"][0]["seeds"] = 2
    (tmp_path / design.FILE_NAME).write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"was frozen with looks .*restore the committed file"):
        design.read([tmp_path])
