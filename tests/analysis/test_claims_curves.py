"""Claims about losses along training and about what training made of A and B."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis.claims import Claim
from experiments.records import Record
from support.arm_records import record
from support.claim_records import SEEDS, cell, mistakes, verdict

START = Claim(
    number="C7", sentence="Ranks start alike.", source="a paper", kind="same_start", sweep="mine",
    arm={"lora.alpha_rule": "const"}, control={"lora.alpha_rule": "r"}, along="lora.r",
    values=[4, 16, 64], margin=0.01, margin_source="the user", unit="share of the initial drop",
)  # fmt: skip
DEPART = Claim(
    number="C2", sentence="Ranks depart in order.", source="a paper", kind="departure",
    sweep="mine", arm={"lora.method": "lora"}, reference={"lora.method": "none"}, along="lora.r",
    values=[1, 4, 16], margin=0.05, margin_source="the user", unit="nats per token",
)  # fmt: skip
SPECTRA = Claim(
    number="C23", sentence="B outgrows A.", source="a paper", kind="spectra", sweep="mine",
    arm={"lora.method": "lora"}, low=1,
)  # fmt: skip


def starts(rule: str, speeds: Sequence[float], noise: float = 1e-4) -> list[Record]:
    """Return short runs of three ranks whose loss falls by so much an update."""
    made = []
    for r, speed in zip((4, 16, 64), speeds, strict=True):
        for seed in SEEDS:
            wobble = [noise * math.sin(7 * seed + 3 * r + 5 * k) for k in range(8)]
            one = record(1e-3, seed, 0.5, (f"lora.r={r}", f"rule={rule}"))
            one.config["lora"] |= {"r": r, "alpha_rule": rule}
            one.curve = [
                {"step": k + 1, "loss": 2 + 0.001 * (seed % 7) - speed * k + bool(k) * wobble[k]}
                for k in range(8)
            ]
            made.append(one)
    return made


APART = starts("r", (0.01, 0.05, 0.2))


@pytest.mark.parametrize(
    ("speeds", "noise", "word"),
    [
        ((0.1, 0.1, 0.1), 1e-4, "holds here"),
        ((0.09, 0.1, 0.1), 1e-4, "does not hold here"),
        ((0.1, 0.1, 0.1), 2e-2, "unresolved"),
    ],
)
def test_starts_are_alike_unlike_or_undecided(
    speeds: Sequence[float], noise: float, word: str
) -> None:
    found = verdict(START, [*starts("const", speeds, noise), *APART])
    assert (found.word, found.seeds) == (word, 5)
    if word == "unresolved":
        assert found.needed and found.needed.startswith("if all started alike, a verdict would")
    else:
        assert not found.missing


def test_equal_starts_prove_nothing_where_the_control_starts_alike_or_is_not_there() -> None:
    alike = starts("const", (0.1, 0.1, 0.1))
    blind = verdict(START, [*alike, *starts("r", (0.1, 0.1, 0.1))])
    assert blind.word == "unresolved"
    assert "the arms of the control start alike" in blind.missing[0]
    assert "no run of the control" in verdict(START, alike).missing[0]
    for one in alike:
        one.curve = one.curve[:3]
    cut = verdict(START, [*alike, *APART])
    assert "lacks a finite logged loss at some of its first 6 steps" in cut.missing[0]


def lines(
    leaves: Sequence[float], jitter: float = 1.0, bend: float = 0.0, lag_steps: int = 0
) -> list[Record]:
    """Return full fine-tuning and three ranks that leave its line at so many steps.

    Before, they are 0.5 above it for `lag_steps`.
    """
    made = cell("none", 1e-3)
    for r in (1, 4, 16):
        made += cell("lora", lora={"r": r})
    for one in made:
        seed, r = one.config["seed"], one.config["lora"].get("r")
        at = math.inf if r is None else leaves[(1, 4, 16).index(r)]
        at *= jitter ** math.sin(seed + (r or 0))
        one.curve = [
            {"step": k, "loss": 2 - 0.2 * math.log(k) + bend * math.log(k) ** 2
             + 0.3 * math.log(max(1.0, k / at)) + 0.5 * (r is not None and k <= lag_steps)}
            for k in range(1, 161)
        ]  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("leaves", "jitter", "word"),
    [
        ((12, 30, 70), 1.2, "holds here"),
        ((70, 30, 12), 1.2, "does not hold here"),
        ((30, 30, 30), 2.0, "unresolved"),
    ],
)
def test_ranks_leave_the_line_in_their_order_or_not(
    leaves: Sequence[float], jitter: float, word: str
) -> None:
    found = verdict(DEPART, lines(leaves, jitter))
    assert found.word == word, (found.effect, found.missing)


def test_a_lag_in_the_first_steps_is_no_departure() -> None:
    found = verdict(DEPART, lines((12, 30, 70), 1.2, lag_steps=6))
    assert found.word == "holds here", (found.effect, found.missing)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lines((500, 500, 500)), "all arms depart at the same step or never"),
        (lines((12, 30, 70), bend=0.03), "not linear in the log of the steps"),
        (lines((1, 2, 3)), "fewer than 4 bins lie before the first departure"),
        ([one for one in lines((12, 30, 70)) if one.config["lora"].get("r") != 4],
         "no run of the arm (lora.method=lora, lora.r=4)"),
    ],
)  # fmt: skip
def test_departures_that_cannot_be_seen_are_no_verdict(made: list[Record], words: str) -> None:
    found = verdict(DEPART, made)
    assert found.word == "unresolved"
    assert any(words in text for text in found.missing), found.missing


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ((1.4, 1.5, 1.6, 1.5, 1.4), "holds here"),
        ((0.6, 0.5, 0.6, 0.7, 0.5), "does not hold here"),
        ((0.9, 1.2, 1.1, 0.8, 1.1), "unresolved"),
    ],
)
def test_norms_of_b_over_a_are_one_number_a_seed(ratios: Sequence[float], word: str) -> None:
    made = cell("lora")
    for one in made:
        ratio = ratios[SEEDS.index(one.config["seed"])] if one.config["seed"] in SEEDS else 1.0
        # Two modules of which one is far out: a median does not follow it.
        norms = {"a": [2.0, 2.0 * ratio], "b": [1.0, ratio], "c": [1.0, 50.0 * ratio]}
        one.adapter = one.adapter | {"spectra": norms}
    found = verdict(SPECTRA, made)
    assert found.word == word
    if word == "holds here":
        assert found.effect is not None
        assert found.effect.estimate == pytest.approx(1.48, abs=0.01)
        made[0].adapter = made[-1].adapter = {"spectra": {"a": [1.0, None]}}
        for one in made:
            one.adapter = {}
        assert "5 of 5 records have no spectra" in verdict(SPECTRA, made).missing[0]


@pytest.mark.parametrize(
    ("claim", "changes", "sentence"),
    [
        (START, {"control": {}}, "control must name arms that are known to start differently"),
        (DEPART, {"arm": {}}, "arm must select an arm"),
        (SPECTRA, {"low": None}, "low=None and high=None: give the ends of the allowed range"),
    ],
)
def test_a_mistake_in_a_claim_about_curves_is_one_sentence(
    tmp_path: Path, claim: Claim, changes: dict[str, Any], sentence: str
) -> None:
    assert f"one.yaml: {sentence}" in mistakes(tmp_path, claim, changes)
