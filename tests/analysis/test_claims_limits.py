"""Claims whose rule, records or setting allow no verdict, or one with a limit: named in the row."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis import claims
from experiments.analysis.claims import Claim, ClaimVerdict, claim_files, design
from experiments.analysis.claims.design import FrozenDesign
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.reports import claims_table
from support.claim_records import cell

TIED = Claim(
    number="C1", sentence="LoRA is full fine-tuning.", source="a paper", sweep="mine", id="mine",
    arm={"lora.method": "lora"}, reference={"lora.method": "none"}, expects="tied", margin=0.05,
    margin_source="the user", unit="nats per token",
)  # fmt: skip
WORSE = dataclasses.replace(TIED, expects="worse", margin=None, margin_source=None)


def both(floor: float = 0.1, noise: float = 0.0005) -> list[Record]:
    return [*cell("none", 1e-3, noise=noise), *cell("lora", 1e-2, floor, noise, 1)]


def judged(claim: Claim, made: list[Record], frozen: FrozenDesign | None = None) -> ClaimVerdict:
    [found] = claims.judge([claim], {"mine": made}, {}, frozen)
    return found


def row(found: ClaimVerdict) -> str:
    """Return what the printed table says of a claim."""
    return " ".join(claims_table.text([found], 4000).split())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"margin": None}, "no margin was fixed before the outcomes were seen"),
        ({"unit": "share of the gain"}, "the margin of 0.05 has the unit 'share of the gain'"),
        ({"unit": None}, "the margin of 0.05 has no unit, but loss/nll is compared in nats per"),
        ({"margin_source": None}, "the margin of 0.05 has no margin_source"),
        ({"margin": -1.0}, "the margin of -1 is not above 0"),
        ({"reference": {}}, "the claim names one arm: give the reference"),
        ({"reference": {"lora.method": "lora"}}, "arm and reference select the same arm"),
        ({"expects": "worse", "delta": 0.01}, "the delta of 0.01 has no delta_source"),
    ],
)
def test_a_claim_that_cannot_be_decided_is_unresolved_and_its_row_says_why(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    claim = dataclasses.replace(TIED, **changes)
    found = judged(claim, both())
    assert found.word == "unresolved"
    assert words in row(found)
    assert not list(claim_files.problems(claim))  # the other claims of the table are judged


def test_a_margin_is_no_share_of_the_gain_whatever_the_base_gained() -> None:
    made = both(floor=0.16)
    assert judged(TIED, made).word == "does not hold here"
    for one in made:
        one.scores["base"] = {"loss/nll": 50.0, "validation/loss/nll": 50.0}
    assert judged(TIED, made).word == "does not hold here"


def test_a_tie_whose_interval_excludes_0_has_its_size_beside_the_word() -> None:
    found = judged(TIED, both(floor=0.12))
    assert found.word == "holds here"
    assert any(text.startswith("differs by +0.02") for text in found.qualifiers)
    assert "holds here; differs by +0.02" in row(found)


@pytest.mark.parametrize(
    ("floor", "delta", "word", "beside"),
    [
        (0.2, None, "holds here", ""),
        (0.2, 0.5, "holds here", "below the size to act on"),
        (0.1, None, "unresolved", ""),  # without a smallest effect, none is too small
        (0.1, 0.5, "does not hold here", ""),
        (0.0, None, "does not hold here", ""),
    ],
)
def test_a_claim_of_difference_is_refuted_by_less_than_it_asserts_or_by_the_opposite(
    floor: float, delta: float | None, word: str, beside: str
) -> None:
    source = None if delta is None else "the paper's table 1"
    claim = dataclasses.replace(WORSE, delta=delta, delta_source=source)
    found = judged(claim, both(floor, noise=0.005))
    assert found.word == word
    assert beside in row(found)


def test_seeds_that_differ_are_refused_without_a_reason_and_compared_where_shared_with_one() -> (
    None
):
    made = [
        one
        for one in both(floor=0.3)
        if (one.config["lora"]["method"], one.config["seed"]) != ("lora", 31415)
    ]
    claim = dataclasses.replace(WORSE, seeds=4)
    assert "the arms have different seeds" in row(judged(claim, made))
    assert judged(claim, made).word == "unresolved"
    stated = judged(dataclasses.replace(claim, seeds_differ="the fifth run ran out of disk"), made)
    assert (stated.word, stated.seeds) == ("holds here", 4)
    assert "only seeds that both arms have: the fifth run ran out of disk" in row(stated)


def test_records_of_two_machines_or_two_precisions_are_no_sample() -> None:
    made = both(floor=0.3)
    for at, one in enumerate(made):
        one.provenance = one.provenance | {"cpu": f"model {at % 2}", "device": "cpu"}
    assert "the runs were made on 2 machines (model 0 with cpu; model 1 with cpu)" in row(
        judged(WORSE, made)
    )
    assert judged(WORSE, made).word == "unresolved"
    mixed = both(floor=0.3)
    mixed[0].identity = mixed[0].identity | {"precision": "bf16"}
    found = judged(WORSE, mixed)
    assert found.word == "unresolved" and "precisions or device classes" in row(found)


def falling(made: list[Record], until: int) -> list[Record]:
    for one in made:
        wobble = 0.001 * (one.config["seed"] % 5)
        losses = [max(3.0 - 0.05 * min(step, until), 0.1) + wobble for step in range(40)]
        one.curve = [{"step": k + 1, "loss": loss} for k, loss in enumerate(losses)]
    return made


def test_a_curve_that_still_falls_at_the_end_limits_the_verdict_to_this_length() -> None:
    found = judged(WORSE, falling(both(floor=0.3), until=40))
    assert found.word == "holds here"
    assert "still falls at the end (by" in row(found) and "about this length only" in row(found)
    assert "still falls" not in row(judged(WORSE, falling(both(floor=0.3), until=15)))


def sized(made: list[Record], tokens: int, parameters: int, base: int = 10**9) -> list[Record]:
    for one in made:
        one.curve = [{"step": k + 1, "loss": 0.7} for k in range(40)]
        one.data = {"trained_tokens": {"train": tokens}, "rows": {"train": 320}}
        one.plan = {"steps": 40, "batch_size": 8}
        one.adapter = {"trainable_parameters": parameters}
        one.model = {"parameters": base}
    return made


def test_a_base_or_adapter_too_small_to_hold_the_data_is_named_and_gives_no_verdict() -> None:
    claim = dataclasses.replace(WORSE, gates=["within_capacity"])
    assert judged(claim, sized(both(0.3), 1000, 1000)).word == "holds here"
    small = judged(claim, sized(both(0.3), 10_000, 1000))
    assert small.word == "unresolved"
    assert "the data are more than fits: full fine-tuning reads 10.1 kbit and holds 2" in row(small)
    base = judged(claim, sized(both(0.3), 10_000, 10**6, base=1000))
    assert "the base of 1,000 weights is too small for data of 10.1 kbit" in row(base)


def test_what_is_claimed_beyond_capacity_is_not_tested_where_every_rank_holds_the_data() -> None:
    claim = dataclasses.replace(WORSE, gates=["beyond_capacity"])
    found = judged(claim, sized(both(0.3), 1000, 10_000))
    assert (found.word, found.effect) == ("not tested", None)
    assert "every rank holds the data (adapter reads 1.01 kbit and holds 20)" in row(found)


def classes(made: list[Record], template: float) -> list[Record]:
    """Give LoRA a worse loss on prose alone, which is a tenth of the tokens."""
    for one in made:
        scores = one.scores.get("tuned") or {}
        extra = template if one.config["lora"]["method"] == "lora" else 0.0
        rest = scores.get("loss/nll", 0.0)
        one.counts = {"tuned": {"loss/nll": 100, "loss/nll_prose": 10, "loss/nll_json_syntax": 90}}
        if scores:
            scores["loss/nll_prose"] = rest + extra
            scores["loss/nll_json_syntax"] = rest
            scores["loss/nll"] = rest + 0.1 * extra
    return made


def test_a_template_cannot_carry_a_verdict_on_the_loss() -> None:
    found = judged(WORSE, classes(both(noise=0.005), template=3.0))
    assert found.word == "unresolved"
    assert "the verdict rests on one token class: without prose, 10.0% of the tokens" in row(found)
    assert any(text.startswith("prose (10.0% of the tokens") for text in found.classes)
    everywhere = judged(WORSE, classes(both(floor=0.3), template=0.0))
    assert everywhere.word == "holds here"


def frozen_at(claim: Claim, time: str, earlier: FrozenDesign | None = None) -> FrozenDesign:
    return design.frozen(earlier or FrozenDesign(), [claim], {"mine": "a: 1\n"}, {"mine": 38}, time)


def test_a_rule_that_was_set_after_the_first_run_is_named_and_decides_nothing() -> None:
    early = frozen_at(TIED, "2025-01-01T00:00:00+00:00")
    found = judged(TIED, both(), early)
    assert found.word == "holds here"
    assert not any("frozen" in text or "changed" in text for text in found.qualifiers)
    wider = dataclasses.replace(TIED, margin=0.5)
    late = judged(wider, both(floor=0.3), frozen_at(wider, "2027-01-01T00:00:00+00:00", early))
    assert late.word == "unresolved"
    assert "margin of the rule was set after the first run (2026-01-01)" in row(late)
    assert "changed after the first run (2026-01-01): margin" in row(late)


def test_a_rule_that_was_only_taken_back_after_the_runs_is_named_and_may_decide() -> None:
    early = frozen_at(
        dataclasses.replace(WORSE, delta=0.1, delta_source="x"), "2025-01-01T00:00:00+00:00"
    )
    found = judged(WORSE, both(floor=0.3), frozen_at(WORSE, "2027-01-01T00:00:00+00:00", early))
    assert found.word == "holds here"
    assert "changed after the first run (2026-01-01): delta removed" in row(found)


def test_a_claim_without_a_frozen_rule_says_so_and_a_changed_sweep_too() -> None:
    assert "rule not frozen" in row(judged(TIED, both()))
    early = frozen_at(TIED, "2025-01-01T00:00:00+00:00")
    changed = design.frozen(early, [TIED], {"mine": "a: 2\n"}, {}, "2027-01-01T00:00:00+00:00")
    assert "the sweep's file was changed after the first run" in row(judged(TIED, both(), changed))
    shared = design.frozen(early, [TIED], {"_base": "b: 1\n"}, {}, "2025-02-01T00:00:00+00:00")
    assert "_base" not in row(judged(TIED, both(), shared))
    shared = design.frozen(shared, [TIED], {"_base": "b: 2\n"}, {}, "2027-01-01T00:00:00+00:00")
    assert "_base.yaml of the sweep was changed after the" in row(judged(TIED, both(), shared))


def test_a_design_file_is_read_as_it_was_written_and_a_damaged_one_is_refused(
    tmp_path: Path,
) -> None:
    made = frozen_at(TIED, "2025-01-01T00:00:00+00:00")
    (tmp_path / design.FILE_NAME).write_text(design.as_text(made), encoding="utf-8")
    read = design.read([tmp_path])
    assert (read.claims, read.sweeps, read.budget) == (made.claims, made.sweeps, {"mine": 38})
    assert len(read.sha256) == 12 and not design.read([]).sha256
    again = design.frozen(read, [TIED], {"mine": "a: 1\n"}, {"mine": 38}, "2026-01-01T00:00:00")
    assert design.as_text(again) == design.as_text(made)  # nothing changed, so no new version
    (tmp_path / design.FILE_NAME).write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="is damaged"):
        design.read([tmp_path])


def test_the_same_effect_elsewhere_is_cited_and_decides_nothing() -> None:
    claim = dataclasses.replace(TIED, cited=[{"sweep": "other"}])
    [found] = claims.judge([claim], {"mine": both(), "other": both(floor=0.5)})
    assert found.word == "holds here"
    assert "C1 elsewhere, other: 0.4" in row(found)
