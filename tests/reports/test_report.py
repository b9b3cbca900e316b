"""Reports from hand-made records: what is averaged, what is only counted, what comes out again."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments import records, reports
from experiments.errors import RecordError
from experiments.records import Record
from support.report_records import answered, config, put, record, single_run, two_arms


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["arm"]: row for row in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


# --- sweeps ---


def test_runs_that_differ_only_in_the_seed_are_one_arm(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    text = reports.summarise(tmp_path / "sweep")
    assert line_of(text, "lora=all_linear").split()[1:3] == ["3", "0.800"]
    assert line_of(text, "lora=qv").split()[1:3] == ["3", "0.747"]
    assert "6 finished." in text
    assert "Means over seeds, with 95 % Student t intervals over seeds." in text


def test_difference_is_arm_minus_first_arm_and_paired_by_seed(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    text = reports.summarise(tmp_path / "sweep")
    # differences -0.05, -0.06, -0.05: separable although the arms' own intervals overlap widely
    assert "-0.053 [-0.07, -0.04] worse" in line_of(text, "lora=qv")
    assert "reference" in line_of(text, "lora=all_linear")


def test_base_is_the_first_row_and_counts_no_seeds(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    rows = [line for line in reports.summarise(tmp_path / "sweep").splitlines() if "  0." in line]
    assert rows[0].startswith("base (untuned)") and rows[0].split()[2:4] == ["-", "0.100"]


def test_failed_runs_are_counted_and_not_averaged(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    error = {"type": "TrainingError", "message": "the loss is\nnot finite", "step": 7}
    tree = record("bad", seed=3, job=6, exact=0.0, status="failed", error=error)
    put(tmp_path / "sweep" / "6", tree)
    put(tmp_path / "sweep" / "7", record("cut", seed=4, job=7, exact=0.0, status="interrupted"))
    text = reports.summarise(tmp_path / "sweep")
    assert line_of(text, "lora=all_linear").split()[1:5] == ["3", "of", "4", "0.800"]
    assert "6 finished, 1 failed, 1 interrupted." in text
    assert "Failed: job 6, lora=all_linear seed=3: TrainingError: the loss is not finite" in text


def test_unequal_seeds_are_named_and_only_common_ones_paired(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    put(tmp_path / "sweep" / "6", record("more", seed=3, job=6, exact=0.1))
    text = " ".join(reports.summarise(tmp_path / "sweep").split())
    assert "Unequal seeds: lora=all_linear has 0, 1, 2, 3; lora=qv has 0, 1, 2." in text
    assert "-0.053 [-0.07, -0.04] worse" in text


def test_one_seed_is_said_and_not_judged(tmp_path: Path) -> None:
    for job, lora in enumerate(("all_linear", "qv")):
        put(tmp_path / str(job), record(lora, lora=lora, job=job, exact=0.8 - job / 10))
    text = reports.summarise(tmp_path)
    assert "-0.100 one seed" in line_of(text, "lora=qv")
    assert "Only one seed: every arm" in text


def test_arms_are_named_by_what_varies(tmp_path: Path) -> None:
    for job, r in enumerate((4, 64)):
        overrides = ["data=mixed", "trainer.keep=none", f"++lora.r={r}", f"name=run{job}"]
        tree = record(f"r{r}", job=job, overrides=overrides)
        put(tmp_path / str(job), tree | {"config": config(r=r)})
    text = reports.summarise(tmp_path)
    assert line_of(text, "lora.r=4 ") and line_of(text, "lora.r=64")
    assert "data=mixed" not in text and "name=run" not in text


def test_arms_with_the_same_overrides_are_told_apart_by_their_config(tmp_path: Path) -> None:
    for job, r in enumerate((4, 64)):
        tree = record(f"r{r}", job=job, overrides=["lora=mine"])
        put(tmp_path / str(job), tree | {"config": config(r=r)})
    text = reports.summarise(tmp_path)
    assert "(lora.r=4)" in text and "(lora.r=64)" in text


def test_newest_finished_run_counts(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    newer = record("qv0", lora="qv", seed=0, job=3, exact=0.6, finished_at="2026-02-01T00:00:00")
    put(tmp_path / "sweep" / "3.1", newer)
    put(tmp_path / "sweep" / "3.2", newer | {"status": "failed", "finished_at": "2026-03-01"})
    text = reports.summarise(tmp_path / "sweep")
    assert line_of(text, "lora=qv").split()[1:3] == ["3", "0.730"]
    assert "6 finished." in text
    left_out = "2 other records of the same runs left out: only the newest finished record of a run"
    assert left_out in text


def test_columns_of_no_record_are_left_out(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    text = reports.summarise(tmp_path / "sweep")
    assert "calls exact" in text and "NLL per token" in text
    assert "restraint" not in text and "JSON" not in text and "unseen" not in text


def test_rows_without_gold_calls_are_compared_by_their_loss(tmp_path: Path) -> None:
    for job, nll in enumerate((1.0, 1.1, 0.5, 0.62)):
        lora = ("all_linear", "qv")[job // 2]
        tree = record(f"run{job}", lora=lora, seed=job % 2, job=job)
        put(tmp_path / str(job), tree | {"scores": {"tuned": {"loss/nll": nll}}})
    text = reports.summarise(tmp_path)
    assert "calls exact" not in text and "base (untuned)" not in text
    assert "-0.490 [-0.62, -0.36] better" in line_of(text, "lora=qv")


def test_runs_of_other_code_are_warned_about(tmp_path: Path) -> None:
    two_arms(tmp_path)
    assert "Warning" not in reports.summarise(tmp_path)
    identity = {"code_sha256": "other", "data_fingerprint": "da7a", "base_sha256": "ba5e"}
    provenance = {"git_commit": "abc123", "git_dirty": True, "command": "python train.py"}
    tree = record("late", seed=3, job=6, identity=identity, provenance=provenance)
    put(tmp_path / "6", tree)
    text = reports.summarise(tmp_path)
    assert "Warning: the runs differ in code_sha256, " in text
    assert "Warning: 1 of 7 runs used uncommitted code." in text


def test_training_rows_that_each_seed_draws_are_no_warning(tmp_path: Path) -> None:
    for job, (seed, rows) in enumerate([(0, "a"), (1, "b"), (0, "a"), (1, "b")]):
        tree = record(f"run{job}", lora=("all_linear", "qv")[job // 2], seed=seed, job=job)
        tree["config"]["data"]["train_seed"] = "seed"
        tree["identity"] = tree["identity"] | {"data_fingerprint": rows}
        put(tmp_path / str(job), tree)
    assert "data_fingerprint" not in reports.summarise(tmp_path)
    tree["identity"] = tree["identity"] | {"data_fingerprint": "c"}
    put(tmp_path / "3", tree)
    assert "Warning: the runs differ in data_fingerprint" in reports.summarise(tmp_path)


def test_score_that_is_not_finite_is_shown_and_not_judged(tmp_path: Path) -> None:
    two_arms(tmp_path)
    put(tmp_path / "6", record("nan", lora="qv", seed=3, job=6, exact=float("nan")))
    assert line_of(reports.summarise(tmp_path), "lora=qv").split()[1:3] == ["4", "nan"]


def test_sweep_without_a_finished_run_has_no_table(tmp_path: Path) -> None:
    for job in (0, 1):
        put(tmp_path / str(job), record(f"bad{job}", job=job, seed=job, status="failed"))
    text = reports.summarise(tmp_path)
    assert "2 failed." in text and "0.8" not in text
    reports.write(tmp_path, tmp_path / "out")
    assert table(tmp_path / "out" / "table.csv") == {}


def test_lines_fit_the_log(tmp_path: Path) -> None:
    single_run(tmp_path)
    assert max(map(len, reports.summarise(tmp_path).splitlines())) <= reports.LOG_WIDTH


# --- one run ---


def test_single_run_has_intervals_over_test_rows(tmp_path: Path) -> None:
    single_run(tmp_path)
    text = reports.summarise(tmp_path)
    right = [
        sum(i["scores"].get("calls/exact", 0) for i in answered(m, s))
        for m, s in (("base", 0.2), ("tuned", 0.85))
    ]
    assert line_of(text, "base").split()[1] == f"{right[0] / 60:.3f}"
    assert line_of(text, "tuned").split()[1] == f"{right[1] / 60:.3f}"
    assert f"{(right[1] - right[0]) / 60:+.3f} [" in line_of(text, "tuned - base")
    assert line_of(text, "test rows").split()[2] == "60"
    assert "do not include variation between seeds." in " ".join(text.split())


def test_loss_interval_is_around_the_token_mean(tmp_path: Path) -> None:
    single_run(tmp_path / "run")
    reports.write(tmp_path / "run", tmp_path / "out")
    row = table(tmp_path / "out" / "table.csv")["tuned"]
    items = answered("tuned", 0.85)
    mean = sum(i["nll"] for i in items) / sum(i["trained_tokens"] for i in items)
    assert float(row["loss/nll"]) == pytest.approx(mean)
    assert float(row["loss/nll low"]) < mean < float(row["loss/nll high"])


def test_single_run_is_split_by_category(tmp_path: Path) -> None:
    single_run(tmp_path)
    text = reports.summarise(tmp_path)
    assert line_of(text, "parallel").split()[1:4] == ["calls", "exact", "30"]
    assert line_of(text, "ask").split()[1:3] == ["restraint", "30"]
    assert line_of(text, "json").split()[1:4] == ["JSON", "valid", "30"]


def test_single_run_without_items_shows_scores_without_intervals(tmp_path: Path) -> None:
    put(tmp_path, record("alone"))
    text = reports.summarise(tmp_path)
    assert line_of(text, "tuned").split() == ["tuned", "0.800", "0.200"]
    assert "No intervals" in text


def test_items_that_do_not_belong_to_the_scores_give_no_interval(tmp_path: Path) -> None:
    put(tmp_path, record("alone"), answered("tuned", 0.5))
    assert line_of(reports.summarise(tmp_path), "tuned").split() == ["tuned", "0.800", "0.200"]


# --- files ---


@pytest.mark.slow
def test_written_report_can_be_made_again_from_itself(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    put(tmp_path / "sweep" / "9", record("qv0", lora="qv", job=3, finished_at="2025", exact=0.0))
    put(tmp_path / "sweep" / "8", record("bad", seed=3, job=8, status="failed"))
    written = reports.write(tmp_path / "sweep", tmp_path / "out")
    assert all(file.is_file() for file in written)
    before = contents(tmp_path / "out")
    reports.write(tmp_path / "out", tmp_path / "again")
    assert contents(tmp_path / "again") == before
    reports.write(tmp_path / "out", tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert {"README.md", "runs.csv", "table.csv", "figures/arms.svg"} <= set(before)


def test_single_run_report_keeps_its_intervals_when_made_again(tmp_path: Path) -> None:
    single_run(tmp_path / "run")
    reports.write(tmp_path / "run", tmp_path / "out")
    reports.write(tmp_path / "out", tmp_path / "again")
    before = contents(tmp_path / "out")
    assert contents(tmp_path / "again") == before
    assert reports.summarise(tmp_path / "out") == reports.summarise(tmp_path / "run")
    assert {"figures/curve.svg", "figures/categories.svg", "runs/single.items.jsonl.gz"} <= set(
        before
    )


@pytest.mark.slow
def test_readme_has_tables_figures_and_how_to_reproduce(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# 6 runs over `lora`, `seed`\n")
    assert "| lora=qv | 3 | 0.747 [" in text and "![arms](figures/arms.svg)" in text
    assert "# commit abc123\npython train.py -m\n```" in text
    assert text.count("python train.py -m\n") == 1 and "<summary>Reproduce</summary>" in text


def test_dirty_tree_is_marked_where_the_commit_stands(tmp_path: Path) -> None:
    provenance = {"git_commit": "abc123", "git_dirty": True, "command": "python train.py"}
    put(tmp_path / "run", record("alone", provenance=provenance))
    reports.write(tmp_path / "run", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "# commit abc123 (dirty tree)\npython train.py\n" in text


def test_runs_csv_has_every_run_and_scores_of_finished_ones(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    put(tmp_path / "sweep" / "6", record("bad", seed=3, job=6, status="failed", exact=0.0))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    with (tmp_path / "out" / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["run_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 7
    assert rows["qv1"]["calls/exact"] == "0.74" and rows["qv1"]["base calls/exact"] == "0.1"
    assert rows["qv1"]["arm"] == "lora=qv" and rows["qv1"]["trainable_parameters"] == "1000"
    assert rows["bad"]["status"] == "failed" and rows["bad"]["calls/exact"] == ""


@pytest.mark.slow
def test_table_csv_has_the_interval_and_the_difference_of_each_arm(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    rows = table(tmp_path / "out" / "table.csv")
    assert list(rows) == ["base (untuned)", "lora=all_linear", "lora=qv"]
    row = rows["lora=qv"]
    assert row["interval over"] == "seeds" and row["calls/exact n"] == "3"
    assert (
        float(row["calls/exact low"]) < float(row["calls/exact"]) < float(row["calls/exact high"])
    )
    assert float(row["difference"]) == pytest.approx(-0.16 / 3)
    assert (row["difference in"], row["difference verdict"]) == ("calls/exact", "worse")
    assert rows["lora=all_linear"]["difference"] == ""


def test_folder_without_records_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="has no record: name the folder of a run"):
        reports.summarise(tmp_path)


def test_report_is_not_written_among_the_runs(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    with pytest.raises(RecordError, match="sweep is a folder of runs: write the report to"):
        reports.write(tmp_path / "sweep", tmp_path / "sweep")


def test_arms_with_other_data_have_no_difference_and_their_own_base(tmp_path: Path) -> None:
    for job, name in enumerate(("mixed", "calls")):
        tree = record(name, job=job, overrides=[f"data={name}"])
        tree["config"] = config() | {"data": {"label": name}}
        tree["identity"] |= {"data_fingerprint": name}
        put(tmp_path / str(job), tree)
    text = reports.summarise(tmp_path)
    assert "base (untuned) model=tiny data=mixed" in text
    assert "base (untuned) model=tiny data=calls" in text
    assert "other rows" in text and "reference" in text
    assert "No difference from data=mixed is shown for data=calls: records of an earlier" in text
    assert "data_fingerprint" not in text


def test_differences_that_all_seeds_share_are_not_called_certain(tmp_path: Path) -> None:
    for job, exact in enumerate((0.7, 0.8, 0.75, 0.85)):
        tree = record(f"r{job}", lora=("a", "b")[job // 2], seed=job % 2, job=job, exact=exact)
        put(tmp_path / str(job), tree)
    text = reports.summarise(tmp_path)
    assert "+0.050 not separable" in line_of(text, "lora=b")
    assert "No interval is shown if all seeds gave the same number" in text


def test_columns_that_do_not_fit_follow_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single_run(tmp_path)
    monkeypatch.setattr(reports.report, "LOG_WIDTH", 60)
    text = reports.summarise(tmp_path)
    table_lines = text[: text.index("95 % intervals")].splitlines()
    assert max(map(len, table_lines)) <= 60
    assert sum(line.startswith("tuned - base") for line in table_lines) > 2


def test_failed_run_alone_says_why(tmp_path: Path) -> None:
    error = {"type": "DataError", "message": "no rows", "step": None}
    put(tmp_path, record("bad", job=None, status="failed", error=error))
    assert "1 failed.\nFailed: lora=all_linear seed=0: DataError: no rows" in reports.summarise(
        tmp_path
    )


def test_scores_of_an_unknown_metric_are_averaged_whatever_their_range(tmp_path: Path) -> None:
    for seed, value in enumerate((40.0, 60.0)):
        tree = record(f"r{seed}", seed=seed, job=seed)
        tree["scores"]["tuned"]["mine/length"] = value
        put(tmp_path / "sweep" / str(seed), tree)
    put(tmp_path / "sweep" / "2", record("other", lora="qv", job=2))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    row = table(tmp_path / "out" / "table.csv")["lora=all_linear"]
    assert (row["mine/length"], row["mine/length n"]) == ("50.0", "2")


def test_model_card_has_header_and_scores_but_no_local_path() -> None:
    tree = record("card")
    tree["config"]["model"] = {"label": "tiny", "path": "/home/me/base", "hub_id": None}
    fields = {key: tree[key] for key in ("run_id", "config", "scores", "counts", "provenance")}
    card = reports.model_card(Record(**fields))
    assert card.startswith("---\nlibrary_name: peft\n---\n\n# Run card: model=tiny data=mixed")
    assert "| calls exact | 0.100 | 0.800 |" in card and "/home" not in card
    assert "abc123." in card
    tree["config"]["model"]["hub_id"] = "owner/name"
    assert "base_model: owner/name\n---" in reports.model_card(Record(**fields))


@pytest.mark.slow
def test_records_of_other_runs_are_not_mixed_in(tmp_path: Path) -> None:
    two_arms(tmp_path / "sweep")
    put(tmp_path / "run", record("alone"))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(RecordError, match="6 records outside this report"):
        reports.write(tmp_path / "run", tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.slow
def test_a_committed_report_may_be_replaced_and_one_that_git_does_not_have_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    two_arms(tmp_path / "sweep")
    put(tmp_path / "run", record("alone"))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    git("init", "-q")
    with pytest.raises(RecordError, match="or commit or remove that one"):
        reports.write(tmp_path / "run", tmp_path / "out")
    git("add", "out")
    git("commit", "-q", "-m", "the report")
    whole, written = records.write_atomically, []

    def killed_after_two(path: Path, content: bytes, **advice: Any) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        whole(path, content, **advice)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(records, "write_atomically", killed_after_two)
        reports.write(tmp_path / "run", tmp_path / "out")
    reports.write(tmp_path / "run", tmp_path / "out")
    reports.write(tmp_path / "run", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


# --- records that are broken or not there yet ---


def broken(folder: Path) -> None:
    """Three seeds of one arm that are whole, and three run.json files that are not."""
    two_arms(folder)
    for job, text in enumerate(('{"schema_version": 1, "run_i', "", '{"schema_version": 99}')):
        (folder / str(job + 3) / "run.json").write_text(text, encoding="utf-8")


def test_broken_record_does_not_hide_the_others(tmp_path: Path) -> None:
    broken(tmp_path)
    assert [r.run_id for r in records.read_all(tmp_path)] == [f"all_linear{s}" for s in range(3)]
    truncated, empty, newer = records.unreadable(tmp_path)
    assert truncated.startswith("3/run.json is not a valid record (")
    assert truncated.endswith("): move it away to repeat the run.")
    assert empty.startswith("4/run.json is not a valid record (")
    assert newer == (
        "5/run.json has schema version 99, but this program reads only up to 1: update the program."
    )


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "null",
        '{"schema_version": "1", "run_id": "a"}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "run_id": "a", "scores": []}',
    ],
)
def test_json_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "run.json").write_text(text, encoding="utf-8")
    assert records.read_all(tmp_path) == []
    assert "0/run.json is not a valid record (" in records.unreadable(tmp_path)[0]


def test_broken_records_are_named_under_the_table(tmp_path: Path) -> None:
    broken(tmp_path)
    text = reports.summarise(tmp_path)
    assert line_of(text, "model=tiny data=mixed lora=all_linear").split()[3:5] == ["3", "0.800"]
    assert "3 finished." in text
    assert text.count("Not counted: ") == 3 and "Not counted: 3/run.json is not a valid" in text


@pytest.mark.slow
def test_report_remembers_what_it_did_not_count(tmp_path: Path) -> None:
    broken(tmp_path / "sweep")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    before = contents(tmp_path / "out")
    readme = before["README.md"].decode()
    assert "- Not counted: 5/run.json has schema version 99" in readme
    assert str(tmp_path) not in readme
    reports.write(tmp_path / "out", tmp_path / "out")
    reports.write(tmp_path / "out", tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again") == before
    two_arms(tmp_path / "sweep")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert "Not counted" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Not counted" not in reports.summarise(tmp_path / "out")


def test_folder_of_broken_records_only_is_an_error(tmp_path: Path) -> None:
    for job in ("0", "1"):
        (tmp_path / job).mkdir()
        (tmp_path / job / "run.json").write_text("{", encoding="utf-8")
    for made in (reports.summarise, lambda path: reports.write(path, tmp_path / "out")):
        with pytest.raises(RecordError, match=r"no readable record: 0/run\.json.*1 more"):
            made(tmp_path)


def test_runs_under_way_are_counted_and_failures_named(tmp_path: Path) -> None:
    tree = {"schema_version": 1, "run_id": "young", "status": "running", "job": 0}
    put(tmp_path / "sweep" / "0", tree)
    assert reports.summarise(tmp_path / "sweep") == "1 running.\n"
    error = {"type": "DataError", "message": "no rows"}
    bad = record("bad", job=1, status="failed", error=error, scores={}, seed=1)
    put(tmp_path / "sweep" / "1", bad)
    text = reports.summarise(tmp_path / "sweep")
    assert text.startswith("1 running, 1 failed.\nFailed: job 1, lora=all_linear seed=1: DataErr")
    reports.write(tmp_path / "sweep", tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "- 1 running, 1 failed." in readme and "figures/" not in readme


def test_run_without_the_optional_parts_has_its_table(tmp_path: Path) -> None:
    tree = record("bare", job=None)
    for key in ("overrides", "curve", "timing", "counts", "adapter", "provenance", "identity"):
        tree[key] = None
    for key in ("name", "resolved_from", "error", "finished_at"):
        del tree[key]
    put(tmp_path / "run", tree | {"config": {"seed": None, "model": None}})
    text = reports.summarise(tmp_path / "run")
    assert line_of(text, "tuned").split() == ["tuned", "0.800", "0.200"]
    reports.write(tmp_path / "run", tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# Run bare\n") and "# commit unknown\n# command unknown" in readme


def test_finished_run_without_scores_says_so(tmp_path: Path) -> None:
    put(tmp_path, record("bare", scores={}))
    assert reports.summarise(tmp_path) == "The record has none of the main scores.\n"


@pytest.mark.parametrize("curve", [[], [{"step": 0, "validation_nll": 2.5}], [{"step": 1}]])
def test_run_without_a_training_step_is_drawn(
    tmp_path: Path, curve: list[dict[str, float]]
) -> None:
    single_run(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"curve": curve}), encoding="utf-8")
    reports.write(tmp_path / "run", tmp_path / "out")
    drawn = {name for name in contents(tmp_path / "out") if name.endswith(".svg")}
    measured = {"figures/curve.svg"} if "validation_nll" in str(curve) else set()
    assert drawn == {"figures/categories.svg"} | measured


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("python train.py lora=none -m seed=0,1", "python train.py lora=none -m seed=0,1"),
        ("python train.py ~tracker ~hydra/launcher", "python train.py ~tracker ~hydra/launcher"),
        ("python train.py x=https://a.b/c d=a/b", "python train.py x=https://a.b/c d=a/b"),
        ("python train.py data.path=rows/a.jsonl", "python train.py data.path=rows/a.jsonl"),
        ("python train.py data.path=/home/me/a.jsonl", "'data.path=<your path>/a.jsonl'"),
        ("python train.py data.path=~/a.jsonl", "'data.path=<your path>/a.jsonl'"),
        ("python train.py data.path=~me/a.jsonl", "'data.path=<your path>/a.jsonl'"),
        ("python train.py data.path=/me/a,/me/b", "'data.path=<your path>/a,<your path>/b'"),
        ("python train.py 'x=[/me/my rows/a, 3]'", "'x=[<your path>/a, 3]'"),
        (r"python train.py 'x=/my rows/a b'", "'x=<your path>/a b'"),
        ("python train.py data.path=file:///home/me/a", "'data.path=file:<your path>/a'"),
        ("python train.py hydra.run.dir=/home/me/", "'hydra.run.dir=<your path>/me'"),
    ],
)
def test_readme_command_shows_no_folder_of_the_user(
    tmp_path: Path, command: str, shown: str
) -> None:
    put(tmp_path / "run", record("alone", provenance={"command": command}))
    reports.write(tmp_path / "run", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert shown in text
