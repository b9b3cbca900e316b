"""Composed text becomes one typed, checked and resolved run, or one clear sentence."""

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT, composed, load
from experiments import config
from experiments.config import renamed_keys
from experiments.errors import ConfigError, OutOfBudget

CONF_FILES = sorted(
    path.relative_to(ROOT / "conf").with_suffix("").as_posix()
    for path in (ROOT / "conf").rglob("*/*.yaml")
    # these have tests of their own
    if path.relative_to(ROOT / "conf").parts[0] not in ("hydra", "rank", "lr", "servers", "agent")
)
# Files that describe something the user has to name.
NEEDED = {
    "model/local": ["model.path=somewhere"],
    "model/gguf": ["model.path=somewhere.gguf"],
    "data/jsonl": ["data.path=rows.jsonl"],
    "data/parquet": ["data.path=rows.parquet"],
    "data/seal_tools": ["data.path=folder"],
    "data/sgd": ["data.path=folder"],
    "data/mixture": [
        "+data@data.sources.mine=jsonl",
        "data.sources.mine.path=rows.jsonl",
        "data.sources.mine.weight=1",
    ],
}


@pytest.mark.parametrize("file", CONF_FILES)
def test_every_conf_file_composes_and_its_label_is_its_name(file: str) -> None:
    group, option = file.split("/")
    run = load(f"{group}={option}", *NEEDED.get(file, []))
    assert isinstance(run, config.RunConfig)
    label = getattr(getattr(run, group), "label", option)
    assert re.sub(r"[-.]", "_", label) == option


def test_override_of_one_leaf_keeps_its_siblings() -> None:
    for leaf, group, sibling in (
        ("lora.lora_dropout=0.1", "lora", "label"),
        ("model.recipe.num_train_epochs=2", "model", "embedded"),
        ("data.weights.single=5", "data", "train_rows"),
        ("eval.limit=3", "eval", "metrics"),
    ):
        assert getattr(getattr(load(leaf), group), sibling) == getattr(
            getattr(load(), group), sibling
        )
    assert load("data.weights.single=5").data.weights["mcp"] == 1
    assert load("model.recipe.num_train_epochs=2").model.recipe.r == 16


def test_the_starting_recipe_is_resolved_for_qwen3_1_7b_without_its_weights() -> None:
    run = load("model=qwen3_1_7b")
    trainer, lora = run.trainer, run.lora
    assert (lora.r, lora.lora_alpha, lora.target_modules) == (16, 32, "all-linear")
    assert (trainer.num_train_epochs, trainer.learning_rate) == (3, 2e-4)
    assert (trainer.batch_size, trainer.micro_batch_size) == (16, 4)
    for key in (
        "trainer.num_train_epochs",
        "trainer.learning_rate",
        "trainer.batch_size",
        "lora.r",
    ):
        assert run.resolved_from[key] == "recipe of model=qwen3-1.7b"


def test_an_override_beats_the_recipe_and_the_recipe_beats_the_hardware() -> None:
    run = load(
        "model=qwen3_1_7b",
        "trainer.learning_rate=1e-3",
        "hardware=cpu",
        "hardware.micro_batch_size=2",
    )
    assert run.trainer.learning_rate == 1e-3
    assert run.resolved_from["trainer.learning_rate"] == "set by you"
    assert run.trainer.micro_batch_size == 4
    assert run.resolved_from["trainer.precision"].startswith("hardware=cpu: ")
    bare = load("hardware.micro_batch_size=2", "model.recipe.micro_batch_size=null")
    assert bare.trainer.micro_batch_size == 2
    origin = bare.resolved_from["trainer.micro_batch_size"]
    assert origin == "hardware=auto: hardware.micro_batch_size"


def test_full_fine_tuning_takes_its_own_rate_from_the_recipe() -> None:
    assert load("model=qwen3_1_7b", "lora=none").trainer.learning_rate == 2e-5


def test_steps_that_the_user_sets_replace_the_recipes_epochs() -> None:
    run = load("trainer.max_steps=7")
    assert (run.trainer.max_steps, run.trainer.num_train_epochs) == (7, None)
    assert "trainer.num_train_epochs" not in run.resolved_from


def test_a_micro_batch_nobody_asked_for_shrinks_to_divide_the_batch() -> None:
    run = load("trainer.batch_size=6", "model=qwen3_1_7b")
    assert run.trainer.micro_batch_size == 3


@pytest.mark.parametrize(
    ("overrides", "scale"),
    [
        (["lora.r=64"], 0.5),
        (["lora.r=64", "lora.alpha_rule=r"], 1.0),
        (["lora.r=64", "lora.alpha_rule=2r"], 2.0),
        (["lora.r=64", "lora.lora_alpha=16"], 0.25),
        (["lora=rslora", "lora.r=64"], 4.0),
    ],
)
def test_alpha_is_32_at_every_rank_unless_said_otherwise(
    overrides: list[str], scale: float
) -> None:
    assert load(*overrides).lora.scale == scale


@pytest.mark.parametrize(
    ("model", "lora", "wanted", "rank"),
    [
        ("tiny", "mlp", 86_016, 14),
        ("tiny", "attention", 86_016, 24),
        ("tiny", "all_linear", 86_016, 9),  # 1.8 % more: no whole rank meets it
        ("qwen3_1_7b", "mlp", 77_070_336, 112),
        ("qwen3_1_7b", "attention", 77_070_336, 192),
        ("qwen3_1_7b_4bit", "attention", 77_070_336, 192),
    ],
)
def test_a_wanted_number_of_parameters_becomes_a_rank_with_the_identity_of_that_rank(
    model: str, lora: str, wanted: int, rank: int
) -> None:
    run = load(f"model={model}", f"lora={lora}", f"lora.match_params={wanted}")
    assert (run.lora.r, run.lora.lora_alpha) == (rank, 32)
    assert run.resolved_from["lora.r"] == f"lora.match_params={wanted}"
    assert config.run_id(run) == config.run_id(
        load(f"model={model}", f"lora={lora}", f"lora.r={rank}")
    )


def test_the_rule_of_alpha_sees_the_rank_that_parameters_were_matched_by() -> None:
    assert load("lora=mlp", "lora.match_params=86016", "lora.alpha_rule=2r").lora.lora_alpha == 28


def test_the_identity_ignores_how_and_keeps_what() -> None:
    same = ["tracker=none", "resume=false", "rerun=true", "name=mine", "trainer.keep=all"]
    other = ["seed=1", "lora.r=8", "data.seed=7", "trainer.learning_rate=1e-5", "eval.limit=5"]
    first = config.run_id(load())
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert {config.run_id(load(text)) for text in same} == {first}
    assert len({config.run_id(load(text)) for text in other} | {first}) == len(other) + 1


def test_a_key_that_a_later_version_adds_and_leaves_null_makes_no_other_run() -> None:
    run = load()
    known = config.canonical(run)
    assert "loraplus_lr_ratio" in known["lora"] and known["lora"]["loraplus_lr_ratio"] is None
    first = renamed_keys.with_first_names(config.without_nulls(known))
    text = json.dumps(first, sort_keys=True, separators=(",", ":"))
    assert "loraplus_lr_ratio" not in text
    assert config.run_id(run) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_a_value_counts_whether_set_or_resolved() -> None:
    assert config.run_id(load("lora.r=16")) == config.run_id(load())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["lora.r=0"], "lora.r=0: must be at least 1."),
        (
            ["trainer.learning_rate=-1"],
            "trainer.learning_rate=-1.0: must be above 0, for example 2e-4.",
        ),
        (
            ["trainer.lr_scheduler_type=cosin"],
            "trainer.lr_scheduler_type=cosin: did you mean 'cosine'? Allowed: constant, linear, "
            "cosine.",
        ),
        (
            ["lora=none", "lora.r=4"],
            "lora.r is set with lora=none: full fine-tuning has no adapter.",
        ),
        (
            ["trainer.num_train_epochs=1", "trainer.max_steps=5"],
            "trainer.num_train_epochs=1.0 and trainer.max_steps=5: set one.",
        ),
        (
            ["lora.lora_alpha=8", "lora.alpha_rule=r"],
            "lora.lora_alpha=8.0 and lora.alpha_rule=r: set only one.",
        ),
        (
            ["trainer.batch_size=5", "trainer.micro_batch_size=2"],
            "trainer.batch_size=5 is not a multiple of trainer.micro_batch_size=2: change one of "
            "them (their ratio is the number of accumulation steps).",
        ),
        (
            ["data.path=x.jsonl"],
            "data.path=x.jsonl would not be used (source: toolworld generates its rows): "
            "remove it.",
        ),
        (
            ["data=jsonl"],
            "data.path is not set: give the file or folder, data.path=FILE.jsonl.",
        ),
        (
            ["model=local"],
            "model sets no base model: set exactly one of model.embedded, model.path, "
            "model.hub_id, model.wheels (a folder: model=local model.path=DIR).",
        ),
        (
            ["lora=none", "lora.loraplus_lr_ratio=16"],
            "lora.loraplus_lr_ratio is set with lora=none: full fine-tuning has no adapter.",
        ),
        (
            ["lora.loraplus_lr_ratio=0"],
            "lora.loraplus_lr_ratio=0.0: must be above 0, for example 16; null = 1.",
        ),
        (
            ["lora.r=4", "lora.match_params=86016"],
            "lora.r=4 and lora.match_params=86016: set only one.",
        ),
        (
            ["lora=mlp", "lora.match_params=9000"],
            "lora.match_params=9000 on model=tiny: the nearest parameter counts are 6,144 with "
            "lora.r=1 and 12,288 with lora.r=2, more than 5% off; set one of these ranks, or a "
            "count that a rank matches.",
        ),
        (
            ["model=local", "model.path=X", "lora.match_params=9000"],
            "lora.match_params=9000 with model=local: its parameters cannot be counted, because "
            "its config has no model.geometry of a supported architecture; set lora.r instead.",
        ),
        (
            ["lora.match_params=86016", "+lora.extra.bias=all"],
            "lora.match_params=86016 with lora.extra.bias: the number of trained parameters then "
            "depends on more than one rank; set lora.r instead.",
        ),
        (["seed=-1"], "seed=-1: must be from 0 to 4294967295."),
        (
            ["trainer.warmup_steps=1.5"],
            "trainer.warmup_steps=1.5: must be a whole number of steps, or a share of all steps "
            "from 0 to below 1.",
        ),
    ],
)
def test_each_illegal_value_has_its_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    assert str(caught.value) == sentence


def test_all_illegal_values_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load("lora.r=0", "trainer.learning_rate=0", "data.test_rows=-1", "eval.splits=[tset]")
    for part in ("lora.r=0", "trainer.learning_rate=0", "data.test_rows=-1", "did you mean 'test'"):
        assert part in str(caught.value)


def test_a_key_added_with_plus_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank: `lora` has no key 'rank'; .*Allowed"):
        config.load(composed("+lora.rank=3"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("epochs=3", "epochs: there is no such key; set trainer.num_train_epochs instead."),
        ("+epochs=3", "epochs: there is no such key; set trainer.num_train_epochs instead."),
        ("limit=3", "limit: there is no such key; set data.limit or eval.limit instead."),
        ("lora.rank=8", "lora.rank: `lora` has no key 'rank'; set lora.r instead. Allowed in"),
        ("++trainer.lr=1", "trainer.lr: `trainer` has no key 'lr'; set trainer.learning_rate"),
        (
            "model.epochs=3",
            "model.epochs: `model` has no key 'epochs'; set trainer.num_train_epochs instead",
        ),
        ("training.lr=3", "training.lr: there is no such key; set trainer.learning_rate instead."),
        ("learning_rte=3", "learning_rte: there is no such key; set trainer.learning_rate inst"),
        (
            "num-train-epochs=3",
            "num-train-epochs: there is no such key; set trainer.num_train_epochs inst",
        ),
        ("lora_alpha=3", "lora_alpha: there is no such key; set lora.lora_alpha instead."),
        ("per_device_train_batch_size=3", "set trainer.micro_batch_size instead."),
        ("max_seq_length=3", "set trainer.max_length instead."),
        ("warmup_ratio=3", "set trainer.warmup_steps instead."),
        ("dataset=x", "set data=NAME (a file of conf/data), or data=jsonl data.path=FILE instead"),
        ("output_dir=x", "set hydra.run.dir=FOLDER instead."),
    ],
)
def test_a_bare_or_foreign_key_names_the_key_that_is_meant(override: str, sentence: str) -> None:
    with pytest.raises((ConfigError, HydraException)) as caught:
        config.load(composed(override))
    said = caught.value
    assert sentence in (str(said) if isinstance(said, ConfigError) else config.explain(said))


def test_every_suggested_key_is_one_that_a_run_has() -> None:
    from experiments.config import naming

    run = load()
    for name in naming.FOREIGN:
        meant = naming.meant(name)
        assert meant is not None
        for key in re.findall(r"\b(?:trainer|lora|data|eval|model|tracker|hub)\.[\w.]+", meant):
            group, leaf = key.split(".")[:2]
            assert hasattr(getattr(run, group), leaf), (name, key)


@pytest.mark.parametrize(
    "override",
    ["lora.extra={rank_pattern:{q_proj:4}}", "+lora.extra.rank_pattern.q_proj=4",
     "lora.extra.rank_pattern={q_proj:4}", "++lora.extra={rank_pattern:{q_proj:4}}"],
)  # fmt: skip
def test_what_peft_takes_is_given_in_any_spelling(override: str) -> None:
    assert load(override).lora.extra == {"rank_pattern": {"q_proj": 4}}


def test_what_the_program_fills_cannot_be_set() -> None:
    with pytest.raises(ConfigError, match="resolved_from is set by the program"):
        load("+resolved_from.x=y")


def test_a_saved_config_loads_to_the_same_identity() -> None:
    from omegaconf import OmegaConf

    run = load("lora=qv", "seed=3")
    again = config.load(OmegaConf.create(config.canonical(run)))
    assert config.run_id(again) == config.run_id(run)


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(-5, 5))
def test_a_rate_or_rank_is_either_legal_or_refused(rate: float, rank: int) -> None:
    from experiments.config import LoraConfig, TrainerConfig

    problems = [*TrainerConfig(learning_rate=rate).problems(), *LoraConfig(r=rank).problems()]
    legal = 0 < rate < float("inf") and rank >= 1
    assert legal == (not problems)


def test_every_field_that_is_not_obvious_is_documented() -> None:
    files = sorted((ROOT / "src/experiments/config").glob("*.py"))
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for name in ("alpha_rule", "select", "keep", "max_steps", "objective", "resolved_from"):
        assert re.search(rf'^    {name}: .*\n    """', source, re.M), name
    assert dataclasses.is_dataclass(config.RunConfig)
    assert Path(ROOT / "conf").is_dir()


def test_a_smoke_run_generates_only_what_it_uses() -> None:
    data = load("trainer=smoke", "eval=smoke").data
    assert (data.train_rows, data.validation_rows, data.test_rows) == (16, 9, 9)
    plain = load().data
    assert (data.unseen_values_rows, data.weights) == (plain.unseen_values_rows, plain.weights)


@pytest.mark.parametrize(
    ("given", "train", "validation", "test"),
    [
        (["data.train_rows=27", "data.test_rows=270"], 27, 9, 270),
        (["eval.limit=50", "eval.loss_rows=null"], 16, 90, 50),
        (["data=short", "eval.limit=null"], 16, 9, 540),
    ],
)
def test_what_is_given_beside_a_smoke_run_is_used(
    given: list[str], train: int, validation: int, test: int
) -> None:
    data = load("trainer=smoke", "eval=smoke", *given).data
    assert (data.train_rows, data.validation_rows, data.test_rows) == (train, validation, test)


@pytest.mark.parametrize("data", ["jsonl", "mixture", "glaive_v2"])
def test_a_smoke_run_reads_the_rows_of_files_as_every_run(data: str) -> None:
    given = [f"data={data}", *NEEDED.get(f"data/{data}", [])]
    assert load("trainer=smoke", "eval=smoke", *given).data == load(*given).data


def test_only_a_smoke_run_has_keys_of_its_own_in_its_id() -> None:
    assert config.canonical(load())["eval"]["loss_rows"] is None
    assert config.run_id(load()) == config.run_id(load("eval.loss_rows=null"))
    assert config.run_id(load()) != config.run_id(load("eval.loss_rows=9"))


@pytest.mark.parametrize("before", [None, "0", "1"])
def test_reporting_errors_leaves_the_environment_as_it_was(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    if before is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", before)
    with config.one_sentence_errors():
        assert os.environ["HYDRA_FULL_ERROR"] == "1"
    assert os.environ.get("HYDRA_FULL_ERROR") == before
    with pytest.raises(SystemExit), config.one_sentence_errors():
        raise OutOfBudget("spent")
    assert os.environ.get("HYDRA_FULL_ERROR") == before
