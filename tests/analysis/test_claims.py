"""Claims as files, and the verdicts that records give."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT, Cli
from experiments import records
from experiments.analysis import arms, claims
from experiments.analysis.arms import Design
from experiments.analysis.claims import Claim, ClaimVerdict
from experiments.analysis.claims import design as designs
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.reports import claims_table
from support.arm_records import IDENTITY, parabola, tuned_records, with_checked_fit

FOLDER = ROOT / "claims"
FIRST = Design(*arms.first_grid(1e-2))
FULL = Design(*arms.first_grid(1e-3))
TIED = Claim(
    number="C1", sentence="LoRA is full fine-tuning.", source="a paper", sweep="mine",
    arm={"lora.method": "lora"}, reference={"lora.method": "none"}, expects="tied", margin=0.05,
    margin_source="the user", unit="nats per token",
)  # fmt: skip
RATIO = dataclasses.replace(TIED, number="C5", kind="rate_ratio", low=5, high=20)
RULE = dataclasses.replace(
    TIED, number="C5b", kind="rule_excess_loss", rule="ten_times", unit="share of the lowest loss"
)


def made(name: str, design: Design, optimum: float, floor: float = 0.1, **changes: Any
         ) -> list[Record]:  # fmt: skip
    """Return the runs of a tuned arm; `name` is its method."""
    curve = parabola(optimum, floor=floor, noise=0.0005)
    found = tuned_records(curve, design, (f"lora={name}",), **changes)
    if not changes:
        found = with_checked_fit(found, curve, (f"lora={name}",))
    for one in found:
        one.config["lora"] = {
            "method": name,
            "init_lora_weights": "default",
            "lora_alpha": 32.0,
            "lora_dropout": 0.0,
        }
        one.curve = [{"step": 1, "grad_norm": 1.0}]
        one.plan = {"steps": 50, "batch_size": 8}
        one.model = {"parameters": 600_000_000}
    return found


def verdict(claim: Claim, *groups: list[Record]) -> ClaimVerdict:
    [found] = claims.judge([claim], {"mine": [one for group in groups for one in group]})
    return found


@pytest.mark.parametrize(
    ("floor", "expects", "word"),
    [
        (0.1, "tied", "holds here"),
        (0.4, "tied", "does not hold here"),
        (0.4, "worse", "holds here"),
        (0.4, "better", "does not hold here"),
        (0.1, "worse", "does not hold here"),  # smaller than the effect that is asserted
        (-0.2, "better", "holds here"),
    ],
)
def test_a_difference_is_held_against_what_the_claim_expects(
    floor: float, expects: str, word: str
) -> None:
    claim = dataclasses.replace(TIED, expects=expects, delta=0.05, delta_source="the user")
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2, floor)
    found = verdict(claim, full, lora)
    assert found.word == word
    assert found.effect is not None
    assert found.effect.estimate == pytest.approx(floor - 0.1, abs=0.01)
    assert (found.seeds, found.missing) == (5, ())
    assert found.scope == "tiny, 50 steps of 8 rows, constant learning rate, fp32 on cpu"


@pytest.mark.parametrize(
    ("optimum", "word"),
    [(1e-2, "holds here"), (1.5e-3, "does not hold here"), (1.98e-2, "unresolved")],
)
def test_a_ratio_of_rates_is_inside_outside_or_across_an_end(optimum: float, word: str) -> None:
    found = verdict(RATIO, made("none", FULL, 1e-3), made("lora", FIRST, optimum))
    assert found.word == word
    if word == "unresolved":
        assert found.needed is not None and "seeds in total" in found.needed
        assert found.missing == (found.needed,)


def test_a_rule_is_judged_by_what_its_rate_costs() -> None:
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1.05e-2)
    assert verdict(RULE, full, lora).word == "holds here"
    far = verdict(RULE, full, made("lora", FIRST, 1e-3))
    assert far.word == "unresolved"
    assert "only 1 of 5 seeds were run around the rule's learning rate" in far.missing[0]
    diverges = made("lora", FIRST, 1e-3, diverges_from=4e-3)
    lone = verdict(RULE, full, diverges)
    assert lone.word == "unresolved"  # one seed that diverges contradicts nothing
    assert lone.effect is not None and lone.effect.estimate == float("inf")
    size = dataclasses.replace(RULE, rule="hidden_size", hidden=1024, family="qwen", reference={})
    outside = verdict(size, made("lora", FIRST, 1e-1))
    assert "outside the tried range" in outside.missing[0]


def test_an_open_interval_is_undecided_and_says_so() -> None:
    flat = parabola(1e-2, curvature=0.02, noise=0.004)
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2)
    for one in lora:
        loss = flat(one.config["trainer"]["learning_rate"], one.config["seed"])
        one.scores["tuned"] = {"validation/loss/nll": loss, "loss/nll": loss}
    found = verdict(RATIO, full, lora)
    assert found.word == "unresolved" and found.missing
    assert all(text for text in found.missing)


def test_without_runs_the_line_that_makes_them_is_named() -> None:
    found = verdict(TIED, made("none", FULL, 1e-3))
    assert found.word == "unresolved"
    assert (
        "no run of the arm (lora.method=lora) has finished: run python train.py -m sweeps=mine"
        in (found.missing)
    )


def test_an_arm_that_is_not_one_arm_is_no_verdict() -> None:
    two = made("lora", FIRST, 1e-2)
    for one in (others := made("lora", FIRST, 1e-2)):
        one.config["lora"]["r"] = 4
    found = verdict(TIED, made("none", FULL, 1e-3), two, others)
    assert found.word == "unresolved"
    assert "add keys to arm in the claim's file" in found.missing[0]


@pytest.mark.parametrize(
    ("gate", "change", "words"),
    [
        ("constant_rate", ("trainer", {"lr_scheduler_type": "linear"}), "('linear', 0.0)"),
        ("no_weight_decay", ("trainer", {"weight_decay": 0.1}), "weight decay is 0.0, 0.1"),
        ("no_dropout", ("lora", {"lora_dropout": 0.1}), "dropout is 0, 0.1"),
        ("zero_start", ("lora", {"init_lora_weights": "gaussian"}), "initialisation is gaussian"),
        ("alpha_32", ("lora", {"lora_alpha": 16.0}), "alpha is 16.0"),
        ("no_clipping", ("trainer", {"max_grad_norm": 0.5}), "50% of the logged steps"),
        ("same_parameters", None, "trained parameters are 1000, 2000"),
        ("same_steps", None, "(steps, rows per step) is (50, 8), (60, 8)"),
        ("fp32_weights", None, "trained weights are unknown (run in bf16)"),
    ],
)
def test_a_gate_that_fails_allows_no_verdict_and_says_what_it_saw(
    gate: str, change: tuple[str, dict[str, Any]] | None, words: str
) -> None:
    claim = dataclasses.replace(TIED, gates=[gate])
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2)
    assert verdict(claim, full, lora).word == "holds here"
    for one in lora:
        if change is not None:
            one.config[change[0]] = one.config[change[0]] | change[1]
        one.adapter = {"trainable_parameters": 2000}
        one.plan = {"steps": 60, "batch_size": 8}
    if gate == "fp32_weights":
        for one in [*full, *lora]:
            one.identity = IDENTITY | {"precision": "bf16"}
    found = verdict(claim, full, lora)
    assert found.word == "unresolved"
    assert any(f"precondition {gate}: " in text and words in text for text in found.missing)
    assert [one.passed for one in found.gates] == [False]


@pytest.mark.parametrize(("dtype", "word"), [("float32", "holds here"), ("bfloat16", "unresolved")])
def test_weights_that_were_trained_in_fp32_pass_whatever_the_passes_computed_in(
    dtype: str, word: str
) -> None:
    claim = dataclasses.replace(TIED, gates=["fp32_weights"])
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2)
    for one in [*full, *lora]:
        one.identity = IDENTITY | {"precision": "bf16"}
        one.adapter = one.adapter | {"trained_dtype": [dtype]}
    assert verdict(claim, full, lora).word == word


def test_a_norm_that_was_not_logged_does_not_pass_the_gate_on_clipping() -> None:
    claim = dataclasses.replace(TIED, gates=["no_clipping"])
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2)
    for one in [*full, *lora]:
        one.curve = []
    assert (
        "precondition no_clipping: no gradient norm was logged"
        in verdict(claim, full, lora).missing
    )


def test_a_verdict_on_a_small_model_is_marked_as_one_on_a_mechanism() -> None:
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2)
    for one in [*full, *lora]:
        one.model = {"parameters": 1_000_000}
    assert verdict(TIED, full, lora).scope.startswith("mechanism (tiny model), tiny, 50 steps")


def test_too_few_seeds_and_a_dirty_tree_allow_no_verdict() -> None:
    three = dataclasses.replace(FIRST, seeds=(0, 43, 100))
    full = made("none", dataclasses.replace(FULL, seeds=(0, 43, 100)), 1e-3)
    few = verdict(TIED, full, made("lora", three, 1e-2, floor=0.4))
    assert few.word == "unresolved"
    assert "3 seeds at the best learning rates; 5 are required" in few.missing
    dirty = made("lora", FIRST, 1e-2)
    dirty[0].provenance = {"git_dirty": True}
    found = verdict(TIED, made("none", FULL, 1e-3), dirty)
    assert found.word == "unresolved" and "uncommitted code" in found.missing[0]


@pytest.mark.slow
def test_the_primary_family_is_adjusted_and_all_other_claims_are_exploratory() -> None:
    full, lora = made("none", FULL, 1e-3), made("lora", FIRST, 1e-2)
    alone = dataclasses.replace(TIED, primary=True, margin=0.002)
    [found] = claims.judge([alone], {"mine": [*full, *lora]})
    assert found.word == "holds here" and found.p is not None and not found.exploratory
    many = [alone, *[dataclasses.replace(TIED, primary=True, margin=None)] * 200]
    among = claims.judge(many, {"mine": [*full, *lora]})
    assert among[0].word == "unresolved"
    assert "after Holm's adjustment over the family" in among[0].missing[-1]
    [other] = claims.judge([dataclasses.replace(alone, primary=False)], {"mine": [*full, *lora]})
    assert other.word == "holds here" and other.exploratory and "exploratory" in other.qualifiers


def test_every_claim_of_the_project_is_whole_and_its_sweep_is_there() -> None:
    found = claims.load([FOLDER])
    assert len({claim.id for claim in found}) == len(found) >= 5
    for claim in found:
        if claim.sweep:
            assert (ROOT / "sweeps" / f"{claim.sweep}.yaml").is_file(), claim.id
        assert len(claim.sha256) == 12


def test_every_claim_names_arms_that_its_sweep_makes() -> None:
    for claim in claims.load([FOLDER]):
        sides = [one for one in (claim.arm, claim.reference, claim.control) if one]
        for wanted in sides if claim.sweep else []:
            cells = [{str(claim.along): value} for value in claim.values] or [{}]
            if claim.kind == "departure" and wanted == claim.reference:
                cells = [{}]
            for at in cells:
                whole = {**wanted, **at}
                fitting = [a for a in sweep_arms(str(claim.sweep)) if whole.items() <= a.items()]
                assert len(fitting) == 1, (claim.id, whole)


def sweep_arms(name: str) -> list[dict[str, Any]]:
    """Return key -> value of each arm of a sweep file, as its YAML says them."""
    sweeper = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text("utf-8"))["hydra"][
        "sweeper"
    ]
    arms_ = sweeper.get("arms") or [[]]
    params = [
        [f"{key}={value}" for value in str(values).split(",")]
        for key, values in (sweeper.get("params") or {}).items()
        if key != "seed"
    ]
    found = []
    for overrides in ([*arm, *cell] for arm in arms_ for cell in itertools.product(*params)):
        given = dict(one.split("=") for one in ["lora=all_linear", *overrides])
        own: dict[str, Any] = {"lora.method": "lora", "lora.alpha_rule": "const"}
        for group in ("lora", "model"):
            if group in given:
                file = ROOT / "conf" / group / f"{given.pop(group)}.yaml"
                tree = yaml.safe_load(file.read_text("utf-8"))
                own |= {f"{group}.{key}": value for key, value in tree.items()
                        if not isinstance(value, dict | list)}  # fmt: skip
        found.append(own | {key: yaml.safe_load(value) for key, value in given.items()})
    return found


def test_the_hash_changes_with_the_file(tmp_path: Path) -> None:
    text = (FOLDER / "lora_equals_full.yaml").read_text(encoding="utf-8") + "seeds: 5\n"
    hashes = []
    for content in (text, text.replace("seeds: 5", "seeds: 6")):
        (tmp_path / "one.yaml").write_text(content, encoding="utf-8")
        hashes.append(claims.load([tmp_path])[0].sha256)
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gatez": []}, "one.yaml: gatez: did you mean 'gates'? Allowed: "),
        ({"gates": ["constant_rat"]}, "one.yaml: gates=constant_rat: did you mean 'constant_rate'"),
        ({"kind": "diff"}, "one.yaml: kind=diff: did you mean 'difference'?"),
        ({"expects": "equal"}, "one.yaml: expects=equal: "),
        ({"margin": "much"}, "one.yaml: margin: "),
        ({"sentence": ""}, "one.yaml: sentence is missing"),
        ({"sweep": None}, "one.yaml: sweep is missing: name the file in sweeps/"),
        ({"seeds": 1}, "one.yaml: seeds=1: must be at least 2"),
        ({"kind": "rate_ratio"}, "one.yaml: low=None and high=None: give a range of ratios"),
        ({"kind": "rule_excess_loss", "rule": "twice"}, "one.yaml: rule=twice: "),
        ({"kind": "rule_regret"}, "one.yaml: kind=rule_regret was renamed to rule_excess_loss"),
        ({"arm": {}}, "one.yaml: arm must select an arm"),
        ({"cited": [{"arm": {}}]}, "one.yaml: cited={'arm': {}}: give sweep, and arm"),
        (
            {"score": "mine", "kind": "difference"},
            "one.yaml: score=mine: no metric declares its direction",
        ),
    ],
)
def test_a_mistake_in_a_claim_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    tree = yaml.safe_load((FOLDER / "lora_equals_full.yaml").read_text(encoding="utf-8"))
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(tree | changes), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        claims.load([tmp_path])
    assert sentence in str(caught.value)


def test_an_unknown_claim_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="claim lora_equals_ful: did you mean 'lora_equals_full'"):
        claims.load([FOLDER], ["lora_equals_ful"])
    with pytest.raises(ConfigError, match="there is no claim in"):
        claims.load([tmp_path])


def test_the_table_says_what_is_missing_and_is_written_as_files(tmp_path: Path) -> None:
    untested = Claim(number="C14", sentence="s", source="p", not_tested="it needs a cluster")
    runs = [*made("none", FULL, 1e-3), *made("lora", FIRST, 1e-2)]
    found = claims.judge([TIED, untested], {"mine": runs})
    text = claims_table.text(found, 200)
    assert "holds here" in text and "C14 is not tested: it needs a cluster." in text
    files = claims_table.write(found, tmp_path)
    assert [file.name for file in files] == [
        "README.md",
        "claims.csv",
        "claims.json",
    ]
    data = json.loads((tmp_path / "claims.json").read_text())
    assert [one["word"] for one in data["claims"]] == ["holds here", "not tested"]
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in claims_table.write(found, tmp_path)] == before


def test_own_runs_are_not_mixed_with_those_of_the_committed_report(tmp_path: Path) -> None:
    claim = dataclasses.replace(TIED, sweep="mine")
    for place, floor in (("mine", 0.5), ("reports/mine", 0.1)):
        for at, one in enumerate(made("none", FULL, 1e-3, floor)):
            one.run_id, one.folder = f"{at:03d}{len(place)}", tmp_path / place / str(at)
            records.write(one)
    [found] = claims.runs_of([claim], tmp_path).values()
    assert len(found) == 19 and not any("reports" in str(r.folder) for r in found)
    for one in found:
        one.status = "failed"
        records.write(one)
    [found] = claims.runs_of([claim], tmp_path).values()
    assert len(found) == 19 and all("reports" in str(r.folder) for r in found)


def test_an_arm_of_an_earlier_version_without_a_key_that_is_null_is_the_same_arm() -> None:
    made_now = made("none", FULL, 1e-3)
    for one in made_now[::2]:
        one.config["lora"] = one.config["lora"] | {"added_later": None}
    assert len(arms.read(made_now)) == 1


@pytest.mark.slow
def test_the_command_prints_the_claims_named_and_writes_only_when_asked(
    cli: Cli, tmp_path: Path
) -> None:
    for at, one in enumerate([*made("none", FULL, 1e-3), *made("lora", FIRST, 1e-2)]):
        one.folder = tmp_path / "outputs" / "lora_without_regret" / "full_and_ranks" / str(at)
        if one.config["lora"]["method"] == "lora":
            one.config["lora"]["r"] = 64
        records.write(one)
    done = cli("claims", "lora_equals_full", "mixture_of_experts", module=True)
    assert done.returncode == 0, done.stderr
    assert "C1 lora_equals_full" in done.stdout and "C1 is unresolved: " in done.stdout
    assert "C13 is not tested" in done.stdout and "C5" not in done.stdout
    assert not (tmp_path / "outputs" / "reports").exists()  # nothing is written unless asked for
    done = cli("claims", "lora_equals_full", "--write", module=True)
    assert done.returncode == 0, done.stderr
    assert "C13 is not tested" not in done.stdout
    written = (tmp_path / "outputs" / "reports" / "claims" / "README.md").read_text()
    # The file is the table of all claims, whichever are printed.
    assert all(one.id in written for one in claims.load([FOLDER]))
    assert "Frozen design: claims/design.json, " in written
    cli("claims", "lora_equals_full", "--out", "elsewhere", module=True)
    assert (tmp_path / "elsewhere" / "README.md").read_text() == written


def test_freezing_again_without_a_change_keeps_the_file_and_its_times() -> None:
    committed = designs.read([FOLDER])
    sweeps = {
        name: (ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8")
        for name in committed.sweeps
        if any(name in (sweep, designs.shared_file(sweep)) for sweep in committed.budget)
    }
    again = designs.frozen(
        committed, claims.load([FOLDER]), sweeps, committed.budget, "2099-01-01T00:00:00"
    )
    assert designs.as_text(again) == (FOLDER / designs.FILE_NAME).read_text(encoding="utf-8")


def test_the_committed_design_is_that_of_the_claims_and_names_the_primary_family() -> None:
    design = designs.read([FOLDER])
    for claim in claims.load([FOLDER]):
        assert not [text for text in designs.changes(design, claim, ()) if "not frozen" in text]
    primary = {claim.number for claim in claims.load([FOLDER]) if claim.primary}
    assert primary == {"C1", "C5", "C6", "C11", "C12"}
