"""A run leaves a whole record, is found again by what it is, and never overwrites another."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SMOKE, load
from experiments import records, reports, runs
from experiments.errors import AdapterError, ConfigError, RecordError, TrainingError
from experiments.records import Record
from experiments.runs import Job
from support.long_runs import LONG, start, stop_at_step


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def make(folder: Path, *overrides: str, **job: Any) -> runs.Outcome:
    return runs.run_one(load(*SMOKE, *overrides), Job(folder, **job))


def without_times(record: Record) -> dict[str, Any]:
    return {"scores": record.scores, "counts": record.counts, "objective": record.objective}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("runs") / "first"
    return make(folder).record


def test_a_run_ends_with_a_record_of_everything(finished: Record) -> None:
    record = records.read(finished.path)
    assert record.status == "finished"
    assert set(record.scores) == {"base", "tuned"}
    for label in ("base", "tuned"):
        for key in ("calls/exact", "calls/malformed", "restraint/correct", "json_output/valid",
                    "generation/stopped", "loss/nll", "validation/loss/nll"):  # fmt: skip
            assert key in record.scores[label], key
    assert record.scores["tuned"]["loss/nll"] < record.scores["base"]["loss/nll"]
    assert set(record.identity) >= {"data_fingerprint", "base_sha256", "precision", "training_code"}
    assert record.memory["peak_rss_bytes"] > 10**8
    assert record.timing["train_seconds"] > 0
    assert record.objective["name"] == "validation/loss/nll"
    assert [p["step"] for p in record.curve] == [1, 2, 3, 4]
    assert record.resolved_from["lora.r"].startswith("recipe of")
    assert record.adapter["trained_dtype"] == ["float32"]
    assert len(record.adapter["spectra"]) == sum(record.adapter["modules"].values())
    a, b = record.adapter["spectra"]["model.layers.0.self_attn.q_proj"]
    assert a > 0 < b


def test_per_item_results_lie_beside_the_record(finished: Record) -> None:
    rows = records.items(finished)
    assert {row["model"] for row in rows} == {"base", "tuned"}
    tuned = [r for r in rows if r["model"] == "tuned" and "calls/exact" in r["scores"]]
    mean = sum(r["scores"]["calls/exact"] for r in tuned) / len(tuned)
    assert mean == finished.scores["tuned"]["calls/exact"]
    assert len(tuned) == finished.counts["tuned"]["calls/exact"]


@pytest.mark.slow
def test_a_run_without_metrics_writes_no_answer_and_keeps_the_losses_of_each_row(
    finished: Record, tmp_path: Path
) -> None:
    record = make(tmp_path / "a", "eval.metrics=[]").record
    for label in ("base", "tuned"):
        assert not [key for key in record.scores[label] if key.startswith("generation/")]
        assert record.evaluation[label]["max_new_tokens"] == {}
        losses = {k: v for k, v in finished.scores[label].items() if "loss/" in k}
        assert {k: v for k, v in record.scores[label].items() if "loss/" in k} == losses
    rows = [row for row in records.items(record) if row["split"] == "test"]
    assert len(rows) == 18
    assert all("text" not in row and row["parts"]["loss/nll"] for row in rows)
    said = reports.summarise(record.folder)
    assert "NLL per token" in said and "Answers cut off" not in said


@pytest.mark.slow
def test_the_adapter_changed_and_the_checkpoints_are_gone(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    record = make(tmp_path / "a", "trainer.keep=adapter").record
    weights = load_file(record.folder / "adapter" / "adapter_model.safetensors")
    assert any(tensor.any() for name, tensor in weights.items() if "lora_B" in name)
    assert not (record.folder / "checkpoints").exists()
    card = (record.folder / "adapter" / "README.md").read_text()
    assert "loss/nll" in card or "NLL" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "left"),
    [("none", set()), ("last", {"adapter", "checkpoints"}), ("all", {"adapter", "checkpoints"})],
)
def test_retention_says_what_stays(tmp_path: Path, keep: str, left: set[str]) -> None:
    folder = make(tmp_path / "a", f"trainer.keep={keep}", "eval.base=false").record.folder
    assert {p.name for p in folder.iterdir() if p.is_dir()} == left
    if keep != "none":
        expected = 4 if keep == "all" else 1
        assert len(list((folder / "checkpoints").glob("checkpoint-*"))) == expected


def test_a_finished_run_is_reused_from_any_sibling_folder(finished: Record) -> None:
    again = make(finished.folder.parent / "second")
    assert again.reused
    assert again.record.folder == finished.folder
    assert not (finished.folder.parent / "second" / "run.json").exists()


@pytest.mark.slow
def test_rerun_trains_again_in_a_new_folder_with_identical_scores(finished: Record) -> None:
    again = make(finished.folder, "rerun=true")
    assert not again.reused
    assert again.record.folder.name == "first_2"
    assert without_times(again.record) == without_times(finished)


@pytest.mark.slow
def test_another_runs_folder_is_never_taken_over(finished: Record) -> None:
    other = make(finished.folder, "seed=9", "eval.base=false")
    assert other.record.folder.name not in ("first",)
    assert records.read(finished.path).run_id == finished.run_id
    with pytest.raises(RecordError, match="holds the record of another run"):
        make(finished.folder, "seed=8", find_siblings=False)


@pytest.mark.slow
def test_base_scores_are_paid_for_once_per_folder_of_runs(finished: Record) -> None:
    other = make(finished.folder.parent / "third", "seed=5").record
    assert other.provenance["base_scores_from"].startswith(finished.run_id)
    assert other.scores["base"] == finished.scores["base"]
    assert {i["model"] for i in records.items(other)} == {"base", "tuned"}


@pytest.mark.slow
def test_changed_data_are_run_again_beside_the_old_record(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {i}", "completion": f"{i} it is"} for i in range(24)]
    path = tmp_path / "rows.jsonl"

    def run_it() -> runs.Outcome:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        file = [s for s in SMOKE if not s.startswith("data.")]
        run = load(
            *file, "data=jsonl", f"data.path={path}", "data.test_share=0.2", "eval.base=false"
        )
        return runs.run_one(run, Job(tmp_path / "runs" / "a"))

    first = run_it()
    assert run_it().reused
    rows[3]["completion"] = "something else"
    second = run_it()
    assert not second.reused
    assert first.record.run_id == second.record.run_id
    assert {p.parent.name for p in (tmp_path / "runs").glob("*/run.json")} == {"a", "a_2"}
    assert records.read(first.record.path).identity == first.record.identity
    third = run_it()
    assert third.reused
    assert third.record.path == second.record.path
    rows[3]["completion"] = "3 it is"
    fourth = run_it()  # the edit was undone
    assert fourth.reused
    assert fourth.record.path == first.record.path


@pytest.mark.slow
def test_zero_steps_score_the_base_alone_or_a_named_adapter(tmp_path: Path) -> None:
    trained = make(tmp_path / "a", "trainer.keep=adapter").record
    scored = make(
        tmp_path / "b",
        "trainer.max_steps=0",
        f"model.adapter={trained.folder / 'adapter'}",
        "lora=qv",
    ).record
    assert scored.scores == trained.scores
    alone = make(tmp_path / "c", "trainer.max_steps=0").record
    assert set(alone.scores) == {"base"}
    assert alone.scores["base"] == trained.scores["base"]
    with pytest.raises(ConfigError, match="leaves nothing to score"):
        make(tmp_path / "d", "trainer.max_steps=0", "eval.base=false")


@pytest.mark.slow
def test_answers_are_scored_without_dropout(tmp_path: Path) -> None:
    kept = ("trainer.keep=adapter", "lora.lora_dropout=0.5", "eval.base=false", "eval.limit=null",
            "trainer.max_steps=12")  # fmt: skip
    trained = make(tmp_path / "a", *kept).record
    adapter = f"model.adapter={trained.folder / 'adapter'}"
    scored = make(tmp_path / "b", "trainer.max_steps=0", adapter, "eval.limit=null",
                  "eval.base=false").record  # fmt: skip
    one, other = ([i.get("text") for i in records.items(of)] for of in (scored, trained))
    assert one == other and any(one)


@pytest.mark.slow
def test_training_goes_on_from_a_named_adapter_of_the_same_shape(tmp_path: Path) -> None:
    trained = make(tmp_path / "a", "trainer.keep=adapter", "lora.r=4").record
    adapter = f"model.adapter={trained.folder / 'adapter'}"
    further = make(tmp_path / "b", adapter, "lora.r=4").record
    assert further.scores["tuned"]["loss/nll"] < trained.scores["tuned"]["loss/nll"]
    with pytest.raises(AdapterError, match=r"lora\.r=8 but model\.adapter="):
        make(tmp_path / "c", adapter, "lora.r=8")


@pytest.mark.slow
def test_full_fine_tuning_writes_a_model_that_generate_can_ask(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "a", "lora=none", "trainer.keep=adapter", "eval.base=false"
    ).record.folder
    base, record = runs.load_run(folder)
    assert record.adapter["modules"] == {}
    assert base.parameters > 100_000


@pytest.mark.slow
def test_best_validation_scores_the_selected_step(tmp_path: Path) -> None:
    record = make(
        tmp_path / "a",
        "trainer.select=best_validation",
        "trainer.learning_rate=0.3",
        "eval.base=false",
    ).record
    by_step = {p["step"]: p["validation_nll"] for p in record.curve}
    best = min(by_step, key=lambda step: by_step[step])
    assert record.plan["selected_step"] == best
    assert record.scores["tuned"]["validation/loss/nll"] == pytest.approx(by_step[best], rel=1e-6)
    with pytest.raises(ConfigError, match="best_validation needs validation rows"):
        make(tmp_path / "b", "trainer.select=best_validation", "data.validation_rows=0")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_fails_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+"):
        make(tmp_path / "a", "trainer.learning_rate=1e38", "eval.base=false")
    record = records.read(tmp_path / "a" / "run.json")
    assert record.status == "failed"
    assert record.error is not None
    assert record.error["type"] == "TrainingError"
    assert record.error["step"] >= 2


def test_an_objective_that_no_score_has_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"eval.objective=calls/exact/nonsense: no such score"):
        make(tmp_path / "a", "eval.objective=calls/exact/nonsense")
    assert not (tmp_path / "a" / "checkpoints").exists()
    with pytest.raises(ConfigError, match="no metric declares its direction"):
        make(tmp_path / "b", "eval.objective=nonsense")


@pytest.mark.slow
def test_the_objective_is_what_the_config_names(tmp_path: Path) -> None:
    outcome = make(tmp_path / "a", "eval.objective=generation/stopped", "eval.base=false")
    assert outcome.record.objective["direction"] == "maximize"
    assert outcome.objective == outcome.record.scores["tuned"]["generation/stopped"]


@pytest.mark.slow
def test_a_full_disk_at_the_record_keeps_the_checkpoint_and_goes_on(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "items.jsonl.gz.partial").symlink_to("/dev/full")
    with pytest.raises(RecordError, match="the disk is full"):
        make(folder, "trainer.keep=last")
    assert records.read(folder / "run.json").status == "failed"
    (folder / "items.jsonl.gz.partial").unlink()
    outcome = make(folder, "trainer.keep=last")
    assert outcome.record.status == "finished"
    assert outcome.record.plan["steps"] == 4
    assert outcome.record.timing["train_seconds"] == 0.0  # not a step was trained twice


def test_two_processes_never_work_in_one_folder(tmp_path: Path) -> None:
    from filelock import FileLock

    folder = tmp_path / "a"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(RecordError, match="by another process"):
        make(folder)


@pytest.mark.slow
def test_interrupted_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    process = start(folder)
    stop_at_step(process, 5, signal.SIGINT)
    assert process.returncode == 130
    assert records.read(folder / "run.json").status == "interrupted"
    process = start(folder)
    stop_at_step(process, 9, signal.SIGKILL)
    assert records.read(folder / "run.json").status == "running"
    process = start(folder)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert "continuing from checkpoint-" in out
    resumed = records.read(folder / "run.json")
    undisturbed = runs.run_one(load(*LONG), Job(tmp_path / "other" / "calm")).record
    assert resumed.run_id == undisturbed.run_id
    assert without_times(resumed) == without_times(undisturbed)
    assert [p.get("loss") for p in resumed.curve] == [p.get("loss") for p in undisturbed.curve]


@pytest.mark.slow
def test_a_polite_kill_is_recorded_like_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    process = start(folder)
    stop_at_step(process, 2, signal.SIGTERM)
    assert records.read(folder / "run.json").status == "interrupted"
