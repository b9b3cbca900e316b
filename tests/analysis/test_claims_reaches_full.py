"""Claims that an arm reaches the loss of full fine-tuning, on records whose truth is known."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import records
from experiments.analysis import statistics
from experiments.analysis.claims import Claim, ClaimVerdict, claim_files
from experiments.records import Record
from experiments.reports import claims_table
from support.claim_records import SEEDS, cell, mistakes, verdict

REACHES = Claim(
    number="C1", sentence="LoRA reaches the loss of full fine-tuning.", source="a paper",
    kind="reaches_full", sweep="mine", arm={"lora.method": "lora"},
    reference={"lora.method": "none"},
)  # fmt: skip
STEPS, EARLY = 50, 40
FULL_EARLY = 0.17
"""Test loss of full fine-tuning at the earlier step: 0.1, the 0.02 that `record` adds, and 0.05."""
ROWS, TOKENS = 40, 10


def measured(made: Sequence[Record], early: float, **changes: Any) -> list[Record]:
    """Add the losses at 0.8 of the steps, by so much above those at the end."""
    found = []
    for one in made:
        last = one.scores["tuned"]["loss/nll"]
        own = np.random.default_rng([7, one.config["seed"]]).normal(0, 0.0005)
        one.config["eval"] = {"test_steps": [0.8]}
        one.test_curve = [
            {"step": EARLY, "loss/nll": last + early + own},
            {"step": STEPS, "loss/nll": last},
        ]
        found.append(dataclasses.replace(one, **changes))
    return found


def both(lora: float, early: float = 0.05, noise: float = 0.0005) -> list[Record]:
    """Return the runs of full fine-tuning, and of LoRA with a loss higher by `lora`."""
    full = cell("none", 1e-3, 0.1, noise)
    return measured([*full, *cell("lora", 1e-2, 0.1 + lora, noise, 1)], early)


def row(found: ClaimVerdict) -> str:
    return " ".join(claims_table.text([found], 4000).split())


@pytest.mark.parametrize(
    ("lora", "word"),
    [(0.0, "holds here"), (0.02, "holds here"), (0.1, "does not hold here"),
     (0.05, "unresolved")],
)  # fmt: skip
def test_an_arm_reaches_the_loss_that_full_had_at_four_fifths_of_its_steps_or_does_not(
    lora: float, word: str
) -> None:
    found = verdict(REACHES, both(lora))
    assert (found.word, found.seeds) == (word, 5)
    assert found.effect is not None and found.effect.estimate == pytest.approx(
        lora - 0.05, abs=0.01
    )
    assert found.effect.reference == pytest.approx(FULL_EARLY, abs=0.01)
    assert (found.effect.unit, found.effect.allowed) == ("nats per token", "below 0")
    if word == "unresolved":
        assert found.needed is not None
        assert "if the arm equalled the reference at every step, a verdict" in found.needed


@pytest.mark.parametrize("early", [0.0, -0.05])
def test_a_reference_that_no_longer_improves_is_reached_by_any_arm_so_there_is_no_verdict(
    early: float,
) -> None:
    found = verdict(REACHES, both(-0.2, early))
    assert found.word == "unresolved" and found.effect is not None
    assert "the reference's loss falls by" in found.missing[0]
    assert "any arm reaches such a loss" in row(found)


def test_records_without_the_earlier_loss_say_what_to_run() -> None:
    made = [*cell("none", 1e-3), *cell("lora", 1e-2)]
    found = verdict(REACHES, made)
    assert (found.word, found.effect) == ("unresolved", None)
    assert found.missing[0] == (
        "5 of 5 runs of the reference lack loss/nll at step 40, 0.8 of 50: run "
        "python train.py -m sweeps=mine 'eval.test_steps=[0.8]'"
    )
    again = verdict(REACHES, [*made, *both(0.0)])  # the new runs stand beside the older ones
    assert again.word == "holds here"


def test_the_loss_of_a_kept_earlier_checkpoint_is_not_that_of_the_last_step() -> None:
    made = both(0.0)
    for one in made:
        one.config["trainer"]["select"] = "best_validation"
    found = verdict(REACHES, made)
    assert found.word == "unresolved"
    assert "lack loss/nll at the last step, 50: run python train.py" in found.missing[0]
    assert "'eval.test_steps=[0.8,50]'" in found.missing[0]
    for one in made:
        one.config["eval"] = {"test_steps": [0.8, 50]}
    assert verdict(REACHES, made).word == "holds here"


def test_an_earlier_step_of_a_decaying_learning_rate_is_no_shorter_run() -> None:
    made = both(0.0)
    for one in made:
        one.config["trainer"]["lr_scheduler_type"] = "cosine"
    for gates in ([], ["constant_rate"]):
        found = verdict(dataclasses.replace(REACHES, gates=gates), made)
        assert found.word == "unresolved" and len(found.missing) == 1
        assert "(schedule, warm-up) is" in found.missing[0] and "cosine" in found.missing[0]


def test_runs_of_unequal_length_are_not_compared() -> None:
    made = both(0.0)
    for one in made:
        if one.config["lora"]["method"] == "lora":
            one.plan = {"steps": 60}
    found = verdict(REACHES, made)
    assert found.word == "unresolved"
    assert "the runs have 50 and 60 steps: give all the same number" in found.missing


def with_rows(folder: Path, made: Sequence[Record], spread: float) -> list[Record]:
    """Write the losses of test rows, which differ by `spread` in how much the last steps gain."""
    gains = np.random.default_rng(3).normal(0, spread, ROWS)
    gains -= gains.mean()
    for at, one in enumerate(made):
        one.folder = folder / str(at)
        one.folder.mkdir()
        early, last = (point["loss/nll"] for point in one.test_curve)
        items = [
            {
                "model": "tuned", "split": "test", "id": str(number), "scores": {},
                "parts": {"loss/nll": [last * TOKENS, TOKENS]},
                "step_parts": {str(EARLY): {"loss/nll": [(early + gain) * TOKENS, TOKENS]}},
            }
            for number, gain in enumerate(gains)
        ]  # fmt: skip
        records.write_items(one, items)
    return list(made)


def test_seeds_are_crossed_with_the_test_rows_at_both_steps(tmp_path: Path) -> None:
    alike = verdict(REACHES, both(0.045))
    assert alike.effect is not None and alike.effect.rows is None
    assert any("over seeds only" in words for words in alike.qualifiers)
    made = with_rows(tmp_path, both(0.045), spread=0.05)
    found = verdict(REACHES, made)
    assert found.effect is not None and found.effect.rows == ROWS
    assert found.effect.estimate == pytest.approx(alike.effect.estimate)
    ends = [(e.high or 0) - (e.low or 0) for e in (alike.effect, found.effect)]
    assert ends[1] > 1.5 * ends[0]


def test_the_verdict_is_that_of_the_statistics_of_the_two_contrasts() -> None:
    made = both(0.02)
    found = verdict(dataclasses.replace(REACHES, primary=True), made)
    by_arm = {
        method: {
            one.config["seed"]: [point["loss/nll"] for point in one.test_curve]
            for one in made
            if one.config["lora"]["method"] == method
            and one.config["trainer"]["learning_rate"] == rate
        }
        for method, rate in (("none", 1e-3), ("lora", 1e-2))
    }
    full, lora = by_arm["none"], by_arm["lora"]
    assert len(full) == len(lora) == len(SEEDS)
    decision = statistics.reaches_full(
        statistics.seed_estimate([lora[seed][1] - full[seed][0] for seed in full]),
        statistics.seed_estimate([full[seed][0] - full[seed][1] for seed in full]),
    )
    assert found.word == decision.word == "holds here"
    assert found.p == pytest.approx(decision.p)


def test_looks_are_taken_at_three_and_at_five_seeds_with_both_contrasts_at_their_alpha() -> None:
    claim = dataclasses.replace(REACHES, looks=True)
    made = both(-0.2)
    few = [one for one in made if one.config["seed"] in SEEDS[:3]]
    assert verdict(REACHES, few).word == "unresolved"
    found = verdict(claim, few)
    assert (found.word, found.seeds) == ("holds here", 3)
    assert "look at 3 seeds: the 99.5 % interval decides" in row(found)
    unclear = both(0.02)
    first = [one for one in unclear if one.config["seed"] in SEEDS[:3]]
    assert verdict(claim, first).missing == (
        "the look at 3 seeds does not decide: the next is at 5 seeds",
    )
    assert "look at 5 seeds: the 95.5 % interval decides" in row(verdict(claim, unclear))


def test_a_verdict_that_one_small_token_class_carries_is_none() -> None:
    made = both(0.02)
    for one in made:
        for point in one.test_curve:
            point["loss/nll_argument_value"] = 5 * point["loss/nll"]
        one.scores["tuned"]["loss/nll_argument_value"] = 5 * one.scores["tuned"]["loss/nll"]
        one.counts = {"tuned": {"loss/nll": 400, "loss/nll_argument_value": 80}}
    found = verdict(REACHES, made)  # the loss of all other tokens is 0 at every step
    assert found.word == "unresolved"
    assert "the verdict rests on one token class: without argument_value" in found.missing[0]
    assert found.classes and found.classes[0].startswith("argument value (20.0% of the tokens")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"margin": 0.01}, "margin=0.01: reaches_full does not use it; remove it"),
        ({"expects": "tied"}, "expects=tied: reaches_full does not use it; remove it"),
        ({"score": "calls/exact"}, "score=calls/exact: reaches_full compares a loss on test rows"),
        ({"score": "validation/loss/nll"}, "score=validation/loss/nll: reaches_full compares"),
    ],
)
def test_a_mistake_in_such_a_claim_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert f"one.yaml: {sentence}" in mistakes(tmp_path, REACHES, changes)
    assert not list(claim_files.problems(REACHES))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one.config["lora"]["method"] == "none",
        lambda one: one.config["lora"]["method"] == "lora",
    ],
)
def test_an_arm_that_was_not_run_is_named(spoil: Callable[[Record], bool]) -> None:
    found = verdict(REACHES, [one for one in both(0.0) if spoil(one)])
    assert found.word == "unresolved" and "has finished: run python train.py" in found.missing[0]
