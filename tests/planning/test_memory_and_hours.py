"""What a plan says of a run or a sweep, and what it refuses; nothing is loaded."""

import dataclasses
import json
from pathlib import Path

import pytest

from conftest import ROOT, load
from experiments import config
from experiments.calibration import planning_t4
from experiments.cli import main as program
from experiments.config import RunConfig
from experiments.errors import ConfigError
from experiments.planning import activations, advice, cost, estimate, memory, parameters, plan_table
from experiments.planning.estimate import Estimate
from experiments.records import Record
from experiments.reports import memory_table as residuals
from experiments.sweeps.hydra import dry_run

T4 = ("hardware=t4", "model=qwen3_1_7b")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))


def plan(*overrides: str) -> Estimate:
    return estimate.of(load(*overrides))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert program.main(["plan", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one sentence with which a plan ends."""
    try:
        assert program.main(["plan", *words]) == 1
        text = capsys.readouterr().err
    except SystemExit as stopped:
        text = str(stopped.code)
    assert text.startswith("error: ") and "Traceback" not in text
    return text


def test_a_plan_needs_neither_weights_nor_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, *T4, "lora=all_linear,qv")
    assert "device: t4, 14.7 GiB, computes in fp16" in text
    assert "17.43M 1.01%" in text and "lora=qv" in text
    assert "for 2 runs, training and scores, at 25% of 65 TFLOPS" in text
    assert "answers of each model: 720 rows of test" in text
    assert "Predicted, not measured" in text


def test_a_plan_for_a_program_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    tree = json.loads(said(capsys, *T4, "lora=none", "--json"))
    [run] = tree["runs"]
    assert run["fits"] is False and run["peak_bytes"] == pytest.approx(
        sum(run["memory_bytes"].values()), abs=10
    )
    assert tree["kind"] == "run" and run["steps"] == -(-3 * 2700 // 16)


@pytest.mark.slow
def test_what_does_not_fit_is_named_with_the_change_that_makes_it_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    big = ("trainer.micro_batch_size=16", "plan.longest_row_tokens=1024")
    words = [*T4, *big, "trainer.gradient_checkpointing=false"]
    text = said(capsys, *words)
    assert "too large; it fits with trainer.gradient_checkpointing=true" in text
    assert estimate.of(load(*words, "trainer.gradient_checkpointing=true")).fits


@pytest.mark.parametrize("width", [80, 110, 195])
def test_no_name_and_no_number_is_cut_on_a_terminal(width: int) -> None:
    plans = [
        plan_table.Named(f"lora={name}", plan("hardware=t4", "model=qwen3_1_7b", f"lora={name}"))
        for name in ("none", "all_linear")
    ]
    text = plan_table.render(plans, plan_table.Runs("grid", 2, 2), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for word in (
        "lora=none",
        "weights",
        "activations",
        "1,720.57M 100.00%",
        "221%",
        "train h",
        "score h",
    ):
        assert word in text


def test_the_smallest_change_is_told_first() -> None:
    again = "trainer.gradient_checkpointing=true"
    found = plan(*T4, again, "trainer.micro_batch_size=16", "plan.longest_row_tokens=2048",
                 "lora=dora", "trainer.max_length=2048")  # fmt: skip
    assert found.fits is False
    assert advice.suggest_overrides(found) == "trainer.micro_batch_size=8"
    full = advice.suggest_overrides(plan("hardware=t4", "model=qwen3_1_7b", "lora=none"))
    assert full == "lora=all_linear lora.r=16"
    larger = advice.suggest_overrides(plan("hardware=t4", "model=llama3_1_8b", "lora=none"))
    assert larger == "lora=all_linear lora.r=16 model.quantization=nf4"
    nothing = plan("hardware=t4", "model=llama3_1_8b", "hardware.memory_gib=3")
    assert advice.suggest_overrides(nothing) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("lora=qv,all_linear", "lora.r=1,64"),
        pytest.param(("sweeps=rank_and_targets",), marks=pytest.mark.slow),
        pytest.param(
            ("model=tiny,qwen3_0_6b", "data.weights.parallel=2", "+trainer.extra.adam_beta1=0.8"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("trainer=smoke,default", "seed=0,7", "trainer.learning_rate=1e-3"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_planned_grid_is_the_grid_that_is_run(words: tuple[str, ...]) -> None:
    found = dry_run.read(words, ROOT / "conf")
    ids = [config.run_id(run) for _, run in found.runs]
    assert found.kind == "grid" and found.total == len(ids)
    assert ids == [config.run_id(run) for run in composed_one_by_one(words)]


@pytest.mark.slow
def test_a_key_that_is_added_is_planned_with_each_of_its_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["lora=qv", "data=short", "+lora.extra.bias=none,all", "hardware=cpu"]
    assert "+lora.extra.bias=none,all (2 runs)" in said(capsys, *line)
    found = dry_run.read(line, ROOT / "conf")
    assert [run.lora.extra for _, run in found.runs] == [{"bias": "none"}, {"bias": "all"}]


def test_lists_are_shown_as_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "data=short", "lora.target_modules=[q_proj],[q_proj,v_proj]")
    assert "lora.target_modules=[q_proj] " in text
    assert "lora.target_modules=[q_proj,v_proj] " in text


def composed_one_by_one(words: tuple[str, ...]) -> list[RunConfig]:
    """Compose each job of a grid anew, as a sweeper does."""
    import itertools

    import yaml

    axes = {key: values.split(",") for key, _, values in (word.partition("=") for word in words)}
    if "sweeps" in axes:
        [name] = axes.pop("sweeps")
        tree = yaml.safe_load((ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))
        params = tree["hydra"]["sweeper"]["params"]
        axes = {"eval.base": ["false"]} | {k: str(v).split(",") for k, v in params.items()}
    cells = itertools.product(*axes.values())
    return [load(*(f"{k}={v}" for k, v in zip(axes, cell, strict=True))) for cell in cells]


@pytest.mark.slow
def test_a_search_is_planned_by_its_values_and_its_number_of_trials(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = dry_run.read(["sweeps=search"], ROOT / "conf")
    assert (found.kind, found.total) == ("search", 30)
    assert {run.lora.r for _, run in found.runs} == {1, 4, 16}
    assert "for 30 runs" in said(capsys, "sweeps=search", *T4)


@pytest.mark.slow
def test_a_tuned_sweep_is_planned_arm_by_arm_with_all_its_rates_and_seeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep = ["sweeps=lora_without_regret/full_and_ranks"]
    found = dry_run.read([*sweep, "hydra.sweeper.repeats=2"], ROOT / "conf")
    assert [run.lora.method for _, run in found.runs] == ["none"] + ["lora"] * 2
    assert [run.lora.r for _, run in found.runs[1:]] == [32, 2]
    assert (found.kind, found.total) == ("tuned", 3 * (19 + 2))
    assert found.most == 3 * (38 + 2) + 10  # one rule, with two rates at five seeds
    each = "3 arms, 19 runs expected, 38 at most each; 10 more at most for its rules"
    assert f" at most, for {each}, at " in said(capsys, *sweep, *T4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweeps=lora_without_regret/width", "seed=1,2"], "gives every arm the same seeds"),
        (["sweeps=lora_without_regret/width", "data.validation_rows=0"], "and there is none: set"),
        (
            ["sweeps=lora_without_regret/width", "hydra.sweeper.rules=[{arm: 9, rate: 1e-3}]"],
            "give arm (0 to 5",
        ),
        (["hardware=t5"], "hardware=t5: there is no such config file; did you mean 't4'?"),
        ([*T4, "trainer.precision=bf16"], "bfloat16 needs compute capability 8.0 or newer"),
        (["trainer.batch_size=6", "trainer.micro_batch_size=4"], "is not a multiple of"),
        (["lora.r=-1,4"], "1 of 2 runs are illegal"),
        (["lora.r=interval(1,4)"], "a grid needs values, an interval has none"),
        (["plan.rows=0"], "plan.rows=0: must be at least 1"),
        (["plan.utilisation=2"], "plan.utilisation=2.0: must be above 0 and at most 1"),
        (["epochs=3"], "epochs: there is no such key; set trainer.num_train_epochs instead"),
        (["++lora.rank=4,8"], "lora.rank: `lora` has no key 'rank'; set lora.r instead"),
        (["plan.row=1"], "plan.row: `plan` has no key 'row'; did you mean 'rows'?"),
        (["lora.target_modules=[q_prj]"], "'q_prj' matches no linear layer of the model"),
        ([*T4, "plan.probe=true"], "describes a GPU and this machine has none"),
        (["plan.probe=true", "trainer.max_steps=0"], "there is no step to measure"),
    ],
)
def test_a_bad_plan_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, *words)


def test_an_unknown_architecture_is_planned_and_marked_as_rough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, *T4, "model.geometry.architecture=gemma9")
    assert "~ rough: architecture gemma9 is unknown" in text


def test_rows_of_the_built_in_data_are_exact() -> None:
    work = plan("data.train_rows=300").work
    assert (work.rows, work.longest_row_tokens) == (300, 324)
    assert plan("data.train_rows=300", "trainer.max_length=200").work.longest_row_tokens == 200


def test_rows_of_a_file_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": []}\n' * 100 + "\n", encoding="utf-8")
    work = plan("data=jsonl", f"data.path={file}", *T4).work
    assert work.rows == 90 and "lines of the file" in work.known_from


def test_what_is_assumed_says_so_and_what_the_user_says_counts() -> None:
    work = plan("data=glaive_v2", *T4).work
    assert "assumed: set plan.rows" in work.known_from
    told = plan("data=glaive_v2", *T4, "plan.rows=113000", "plan.tokens_per_row=300").work
    assert (told.rows, told.tokens_per_row) == (113_000, 300)
    assert "plan.rows, plan.tokens_per_row set by you" in told.known_from


def test_operations_of_lora_are_two_thirds_and_six_n_r() -> None:
    """2N^2 + 6NR against 3N^2 multiply-adds a token and matrix (LoRA Without Regret)."""
    shape = dataclasses.replace(plan("model=qwen3_0_6b").shape, vocabulary=1)
    work = activations.Pass(1, 1, "fp32", frozenset())
    lora = load("model=qwen3_0_6b", "lora.r=8").lora
    counts = parameters.count(shape, lora)
    scores = cost.flops_per_token(
        dataclasses.replace(shape, vocabulary=1),
        dataclasses.replace(counts, linear=0, adapters=()),
        work,
        trained_share=0.0,
    )
    found = cost.flops_per_token(shape, counts, work, trained_share=0.0) - scores
    assert found == 2 * (2 * counts.linear) + 2 * 3 * counts.adapter
    full = dataclasses.replace(work, full=True)
    everything = parameters.count(shape, load("lora=none").lora)
    assert cost.flops_per_token(shape, everything, full, 0.0) - scores == 2 * 3 * counts.linear


def test_losses_while_training_are_part_of_the_hours() -> None:
    given = ("hardware=t4", "data=mixed", "trainer.max_steps=128", "eval.splits=[test]")
    rows = ("data.validation_rows=100", "data.test_rows=300")
    plain = plan(*given, *rows)
    stated = plan(*given, *rows, "eval.validation_steps=[64,128]", "eval.test_steps=[0.8,128]")
    assert stated.cost.flops == plain.cost.flops  # of training
    # Every fifth of the run and at its end; with stated steps only there. The last step's test
    # losses are those of the final scores.
    few, more = 6 * 100, 2 * 100 + 300
    for found, expected in ((plain, few), (stated, more)):
        assert found.work.evaluation_tokens(found.run) == expected * found.work.tokens_per_row
    both = plan(*given, *rows, "eval.validation_steps=[64,128]", "trainer.eval_steps=64")
    assert both.work.evaluation_tokens(both.run) == 2 * 100 * both.work.tokens_per_row
    assert plain.hours is not None and stated.hours is not None
    speed = 0.25 * 65e12 * 3600
    assert plain.hours.training == plain.cost.hours == pytest.approx(plain.cost.flops / speed)
    mean = dataclasses.replace(stated.settings.work, length=round(stated.work.tokens_per_row))
    per_token = cost.loss_flops_per_token(
        stated.shape, stated.counts, mean, stated.work.trained_share
    )
    difference = (more - few) * stated.work.tokens_per_row * per_token / speed
    assert stated.hours.losses - plain.hours.losses == pytest.approx(difference)
    limited = plan(*given, *rows, "eval.test_steps=[0.8]", "eval.limit=50", "eval.loss_rows=1")
    assert limited.work.evaluation_tokens(limited.run) == 56 * limited.work.tokens_per_row


def test_answers_are_counted_with_those_of_benchmarks_and_of_the_base() -> None:
    own = ("hardware=t4", "model=qwen3_0_6b", "eval.splits=[test]", "data.test_rows=300")
    bfcl = "eval.benchmarks=[bfcl_simple_python,bfcl_live_multiple]"
    alone = plan(*own)
    found = plan(*own, bfcl, "eval.benchmark_rows={bfcl_simple_python:100}")
    assert [(asked.name, asked.rows) for asked in found.answers.sets] == [
        *(("test", 300), ("bfcl_simple_python", 100), ("bfcl_live_multiple", 1053)),
    ]
    assert alone.hours is not None and found.hours is not None
    assert found.hours.answers > 3 * alone.hours.answers > 0
    assert found.hours.training == alone.hours.training
    assert 0 < found.hours.base < found.hours.base_at_limit
    without = plan(*own, "eval.base=false")
    assert without.hours is not None and without.hours.base == 0
    assert without.hours.answers == alone.hours.answers
    losses_only = plan(*own, "eval=loss")  # one token of each answer
    assert losses_only.hours is not None
    assert losses_only.hours.answers < alone.hours.answers / 2
    assert losses_only.hours.losses == alone.hours.losses


@pytest.mark.slow
def test_the_rows_and_tokens_of_bfcl_in_a_plan_are_those_of_its_files(shared: Path) -> None:
    from transformers import AutoTokenizer

    from experiments import data
    from experiments.config import chat_templates
    from experiments.planning import answers

    names = [f"bfcl_{category}" for category in answers.BFCL]
    run = load(
        *("data.train_rows=10", "data.test_rows=9", f"eval.benchmarks=[{','.join(names)}]"),
        f"eval.path={shared / 'bfcl'}",
    )
    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / "qwen3")
    template = chat_templates.located("smollm2")
    assert template is not None
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    built = data.build(run, tokenizer, end_ids=[tokenizer.eos_token_id], positions=40_960)
    for category, (rows, prompt, answer) in answers.BFCL.items():
        found = built.splits[f"bfcl_{category}"]
        assert len(found) == rows
        assert sum(len(e.prompt_ids) for e in found) / rows == pytest.approx(prompt, abs=0.5)
        gold = sum(e.trained_tokens for e in found) / rows
        assert gold == pytest.approx(answer, abs=0.5) or (gold, answer) == (0, 40)


def test_benchmarks_that_are_planned_need_no_questions(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, *T4, "eval=bfcl_sample", "seed=0,1")
    assert "100 rows of bfcl_simple_python" in text and "60 rows of bfcl_irrelevance" in text
    assert "for the scores of the untuned base, once (" in text


def test_a_run_of_losses_alone_is_planned_without_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = plan("hardware=t4", "model=qwen3_0_6b", "eval=loss").hours
    assert found is not None
    assert found.answers == 0 < found.losses
    assert "answers of each model" not in said(capsys, *T4, "eval=loss")


def test_a_slower_memory_makes_answers_slower_and_a_smaller_model_faster() -> None:
    hours = {}
    for name, words in {
        "t4": ("model=qwen3_1_7b",),
        "half the bandwidth": ("model=qwen3_1_7b", "hardware.memory_gbs=16"),
        "small": ("model=qwen3_0_6b",),
    }.items():
        found = plan("hardware=t4", *words).hours
        assert found is not None
        hours[name] = found.answers
    assert hours["small"] < hours["t4"] < hours["half the bandwidth"]


def test_activations_are_kept_where_they_fit_unless_a_setting_decides() -> None:
    fits = plan("hardware=t4", "model=qwen3_0_6b")
    assert not fits.settings.work.checkpointing
    assert fits.share is not None and fits.share <= estimate.ROOMY
    told = plan("hardware=t4", "model=qwen3_0_6b", "trainer.gradient_checkpointing=true")
    assert told.settings.work.checkpointing
    assert told.memory.total < fits.memory.total
    assert told.hours is not None and fits.hours is not None
    assert told.hours.training > fits.hours.training
    long = ("plan.longest_row_tokens=2048", "trainer.micro_batch_size=8")
    assert plan("hardware=t4", "model=qwen3_1_7b", *long).settings.work.checkpointing
    assert plan("hardware=cpu", "hardware.memory_gib=6", "model=qwen3_0_6b", *long).share
    small = plan("hardware=cpu", "hardware.memory_gib=6", "model=qwen3_0_6b")
    assert small.settings.work.checkpointing
    assert not plan("hardware=cpu").settings.work.checkpointing


def test_held_back_rows_of_files_are_counted_by_their_shares() -> None:
    given = (*T4, "data=glaive_v2", "trainer.max_steps=10", "plan.rows=900")
    shares = ("data.validation_share=0.05", "data.test_share=0.05")
    stated = plan(*given, *shares, "eval.validation_steps=[5]", "eval.test_steps=[5]")
    assert stated.work.evaluation_tokens(stated.run) == 100 * stated.work.tokens_per_row


def test_quantised_weights_take_4_127_bits() -> None:
    found = plan(*T4)
    assert pytest.approx(4.127, abs=5e-4) == memory.NF4_BITS
    settings = dataclasses.replace(found.settings, quantization="nf4")
    small = memory.weights(found.shape, found.counts, settings)
    rest = 2 * (found.counts.total - found.counts.linear)
    assert small == pytest.approx(rest + found.counts.linear * 4.127 / 8, rel=1e-3)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (("trainer.gradient_checkpointing=true",), ("trainer.gradient_checkpointing=false",)),
        (("trainer.micro_batch_size=1",), ("trainer.micro_batch_size=4",)),
        (("lora=qv",), ("lora=all_linear",)),
        (("lora=all_linear",), ("lora=none",)),
        (("lora=all_linear", "lora.lora_dropout=0"), ("lora=all_linear", "lora.lora_dropout=0.1")),
        (("lora=none", "trainer.optimizer=adamw_8bit"), ("lora=none",)),
        (("plan.longest_row_tokens=200",), ("plan.longest_row_tokens=400",)),
        (("lora.r=4",), ("lora.r=256",)),
    ],
)
def test_what_takes_less_memory_is_planned_with_less(
    less: tuple[str, ...], more: tuple[str, ...]
) -> None:
    fixed = (*T4, "trainer.gradient_checkpointing=false")
    kept = fixed if "gradient" not in less[0] else T4
    assert plan(*kept, *less).memory.total < plan(*kept, *more).memory.total


@pytest.mark.slow
def test_hours_are_not_invented_for_a_card_that_nobody_describes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = ("hardware.device=cuda", "hardware.compute_capability=8.6", "hardware.memory_gib=24")
    assert "hours: unknown" in said(capsys, *card)
    assert "hours: 0." in said(capsys, *card, "hardware.peak_tflops=1")


def test_a_plan_for_a_cpu_measures_how_fast_this_one_is(capsys: pytest.CaptureFixture[str]) -> None:
    first = said(capsys, "hardware=cpu")
    assert "training and scores, at 50% of " in first and "hours: unknown" not in first
    assert "at 50% of 1 TFLOPS" in said(capsys, "hardware=cpu", "hardware.peak_tflops=1")


@pytest.mark.slow
def test_the_page_about_a_t4_is_what_its_command_prints() -> None:
    assert (ROOT / "docs" / "t4.md").read_text(encoding="utf-8") == planning_t4.page()


def test_a_report_shows_residuals_only_where_both_are_known() -> None:
    from experiments.reports import arm_report

    both = {"train_predicted_bytes": 11 * 10**8, "train_peak_bytes": 10**9}
    known, unknown = (made(i, own) for i, own in enumerate((both, {"peak_rss_bytes": 1})))
    [grid] = residuals.grids(arm_report.build([known], []))
    assert grid.rows[0][1:] == ["1", "1.10", "1.00", "+10%"]
    assert residuals.grids(arm_report.build([unknown], [])) == []


def made(seed: int, found: dict[str, int]) -> Record:
    """Return a finished record with some memory."""
    run = load(f"seed={seed}")
    return Record(
        run_id=config.run_id(run),
        status="finished",
        config=config.canonical(run),
        scores={"tuned": {"loss/nll": 1.0}},
        memory=found,
    )


def test_a_model_that_nothing_describes_is_not_planned() -> None:
    with pytest.raises(ConfigError, match="has no `geometry`"):
        estimate.of(load("model=local", "model.hub_id=nobody/nothing"))


def test_rows_that_an_earlier_run_kept_are_known(tmp_path: Path) -> None:
    from experiments import data, models

    words = ["data=xlam_60k", f"data.path={xlam(tmp_path)}", f"data.cache={tmp_path / 'cache'}"]
    run = load(*words)
    assert "assumed" in estimate.of(run).work.known_from
    vocabulary = models.load_vocabulary(run.model)
    built = data.build(
        run, vocabulary.tokenizer, end_ids=vocabulary.end_ids, positions=vocabulary.positions or 1
    )
    work = estimate.of(run).work
    lengths = [len(row.ids) for row in built.train]
    assert "data.cache" in work.known_from
    assert (work.rows, work.longest_row_tokens) == (len(lengths), max(lengths))
    assert work.tokens_per_row == pytest.approx(sum(lengths) / len(lengths))
    trained = sum(row.trained_tokens for row in built.train)
    assert work.trained_share == pytest.approx(trained / sum(lengths))


def xlam(folder: Path) -> Path:
    """Write a small folder in xlam's layout."""
    tool = {"name": "add", "description": "Add.", "parameters": {"a": {"type": "int"}}}
    rows = [
        {
            "id": i,
            "query": f"What is {i} and one?",
            "tools": json.dumps([tool]),
            "answers": json.dumps([{"name": "add", "arguments": {"a": i}}]),
        }
        for i in range(40)
    ]
    place = folder / "xlam"
    place.mkdir()
    (place / "xlam.json").write_text(json.dumps(rows), encoding="utf-8")
    return place
