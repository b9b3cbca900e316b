"""What differs between two runs is named, what is the same is counted, in words and in tables."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.cli.main import main
from experiments.errors import RecordError
from experiments.reports.explain import run_comparison, showing
from experiments.reports.explain.run_comparison import Explained
from experiments.reports.explain.trees import Part
from support.report_records import answered, put, record, two_arms, with_items


def run(folder: Path, run_id: str = "a", *, share: float = 0.85, **given: Any) -> Path:
    """Write a run with items whose tuned model is right in a share of its rows."""
    items = [*answered("base", 0.2), *answered("tuned", share)]
    put(folder, with_items(record(run_id, **given), items), items)
    return folder


def text(found: Explained) -> str:
    out = io.StringIO()
    showing.show(found, Console(file=out, width=130, markup=False, highlight=False))
    return " ".join(out.getvalue().split())


def part(found: Explained, name: str) -> Part:
    return next(part for part in found.parts if part.name == name)


def keys(found: Explained, name: str) -> list[str]:
    return [row.key for row in part(found, name).rows]


def test_two_equal_runs_differ_in_nothing_and_that_is_said(tmp_path: Path) -> None:
    one = run(tmp_path / "a", started_at="2026-01-01")
    found = run_comparison.explain(one, run(tmp_path / "b", started_at="2026-01-02"))
    assert not any(part.rows for part in found.parts) and found.same_inputs
    said = text(found)
    assert "No differences in config (9 values)." in said
    for name in ("data", "environment", "training", "the scores"):
        assert f"No differences in {name} (" in said
    assert "Neither record describes its answers." in said
    assert "Neither run has a learning curve." in said
    assert "scores, row by row)" in said and "Intervals" not in said
    assert "A and B are records of the same run." in text(run_comparison.explain(one, one))


def test_config_differences_are_named_with_their_origin_whatever_the_order_of_lists(
    tmp_path: Path,
) -> None:
    one, other = record("a"), record("b")
    one["config"]["lora"] |= {"target_modules": ["q", "v"], "lora_alpha": 32.0, "only_here": 1}
    other["config"]["lora"] |= {"target_modules": ["v", "q"], "lora_alpha": 32, "r": 64}
    one["resolved_from"] = {"lora.r": "recipe of model=tiny"}
    other["resolved_from"] = {"lora.r": "set by you"}
    put(tmp_path / "a", one)
    put(tmp_path / "b", other)
    found = run_comparison.explain(tmp_path / "a", tmp_path / "b")
    assert keys(found, "config") == ["lora.r", "lora.only_here"]
    assert part(found, "config").same == 10
    said = text(found)
    assert "2 of 12 values in config differ:" in said
    assert "lora.r 16 (recipe of model=tiny) 64 lora.only_here 1 (absent)" in said


def test_data_and_environment_are_told_apart(tmp_path: Path) -> None:
    identity = {"code_sha256": "c0de", "base_sha256": "ba5e", "libraries": {"trl": "1.16.0"}}
    one: dict[str, Any] = {
        "identity": identity | {"data_fingerprint": "da7a"},
        "data": {"rows": {"train": 27}},
    }
    other: dict[str, Any] = {
        "identity": identity | {"libraries": {"trl": "1.17.0"}, "data_fingerprint": "new"}
    }
    other["data"] = {"rows": {"train": 30}}
    provenance = {"git_commit": "abc123", "git_dirty": True, "command": "python train.py -m"}
    one_run = run(tmp_path / "a", **one)
    found = run_comparison.explain(
        one_run, run(tmp_path / "b", "b", provenance=provenance, **other)
    )
    assert keys(found, "data") == ["data_fingerprint", "rows.train"]
    assert keys(found, "environment") == ["git_dirty", "libraries.trl"]
    said = text(found)
    assert (
        "Besides the config, libraries, data_fingerprint differ, which may explain differences in "
        "the scores."
    ) in said
    assert "Rows are paired by id: make sure that ids refer to the same rows in both." in said


def test_scores_are_compared_row_by_row_with_interval_and_mcnemar(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a", share=0.5), run(tmp_path / "b", "b", share=0.9, lora="qv")
    scores = {score.key: score for score in run_comparison.explain(one, other).scores}
    exact = scores["calls/exact"]
    pairs = [
        (x["scores"]["calls/exact"], y["scores"]["calls/exact"])
        for x, y in zip(answered("tuned", 0.5), answered("tuned", 0.9), strict=True)
        if "calls/exact" in x["scores"]
    ]
    assert exact.changed is not None
    assert exact.changed == sum(x != y for x, y in pairs) > 5
    assert exact.difference.estimate == pytest.approx(exact.b - exact.a)
    assert exact.difference.n == len(pairs) == 60
    assert exact.verdict == "better"
    assert exact.mcnemar_p == pytest.approx(2 * 0.5**exact.changed), "b solves what a does"
    assert scores["loss/nll"].same and scores["loss/nll"].mcnemar_p is None
    assert next(iter(scores)) == "calls/exact" and "calls/exact/single" not in scores
    said = text(run_comparison.explain(one, other))
    assert "differ (tuned model):" in said and "95 % intervals are over test rows" in said


def test_without_the_same_rows_the_difference_has_no_interval(tmp_path: Path) -> None:
    put(tmp_path / "a", record("a", exact=0.8))
    put(tmp_path / "b", record("b", exact=0.7))
    found = run_comparison.explain(tmp_path / "a", tmp_path / "b")
    exact = found.scores[0]
    assert (exact.changed, exact.difference.low, exact.verdict) == (None, None, "-")
    assert "No intervals: the scores per test row (items.jsonl.gz) are missing" in text(found)


def test_runs_that_should_agree_and_do_not_are_called_noise(tmp_path: Path) -> None:
    put(tmp_path / "a", record("a", exact=0.8))
    put(tmp_path / "b", record("a", exact=0.79, started_at="2026-02-01"))
    said = text(run_comparison.explain(tmp_path / "a", tmp_path / "b"))
    assert "Config and identity are the same, so the scores should be too" in said


def test_curves_show_their_last_points_and_where_they_part(tmp_path: Path) -> None:
    curves = (
        [{"step": s, "loss": 2.0 - s / 10, "validation_nll": 1.0} for s in (1, 2, 3)],
        [{"step": s, "loss": 2.0 - s / 10 - (s > 1) / 100} for s in (1, 2, 3, 4)],
    )
    for name, curve in zip("ab", curves, strict=True):
        put(tmp_path / name, record(name, curve=curve))
    found = run_comparison.explain(tmp_path / "a", tmp_path / "b")
    loss, validation = found.curves
    assert (loss.parts_at, loss.common) == (2, 3)
    assert loss.last_a == (3, 1.7) and loss.last_b == (4, 1.59)
    assert validation.last_b is None
    said = text(found)
    assert "training loss 1.7000 at step 3 1.5900 at step 4 - step 2" in said
    assert "validation NLL 1.0000 at step 3 - - no common step" in said


def test_a_failed_run_is_compared_too(tmp_path: Path) -> None:
    error = {"type": "TrainingError", "message": "the loss is not finite", "step": 3}
    put(tmp_path / "a", record("a"))
    put(tmp_path / "b", record("b", status="failed", error=error, scores={}))
    found = run_comparison.explain(tmp_path / "a", tmp_path / "b")
    assert keys(found, "training") == ["status", "error"]
    assert "The runs have no score in common." in text(found)


def test_a_score_of_which_nothing_says_what_is_better_is_higher_or_lower(tmp_path: Path) -> None:
    for name, tokens in (("a", 5.0), ("b", 9.0)):
        items = answered("tuned", 0.5)
        for at, item in enumerate(items):
            item["scores"]["mine/length"] = tokens + at % 2 * (name == "b")
        put(tmp_path / name, with_items(record(name), items), items)
    [length] = [
        s for s in run_comparison.explain(tmp_path / "a", tmp_path / "b").scores if not s.same
    ]
    assert (length.key, length.verdict) == ("mine/length", "higher")


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_arms(tmp_path / "sweep")
    one = tmp_path / "sweep" / "0"
    advice = "name the folder of one run, or one record of a report, outputs/reports/NAME/runs/"
    (tmp_path / "empty").mkdir()
    for path, sentence in (
        ("sweep", f"has 6 records: {advice}ID.json."),
        ("empty", f"has no record: {advice}ID.json."),
        ("absent", ": there is no such file or folder; name the folder of a run, or one record"),
    ):
        with pytest.raises(RecordError) as caught:
            run_comparison.explain(one, tmp_path / path)
        assert f"explain {tmp_path / path}" in str(caught.value) and sentence in str(caught.value)
    (tmp_path / "empty" / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"explain .*empty: run\.json is not a valid record"):
        run_comparison.explain(tmp_path / "empty", one)
    assert main(["explain", str(one), str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err.startswith("error: explain ")


def test_the_verb_reads_a_record_of_a_committed_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    two_arms(tmp_path / "sweep")
    tree = json.loads((tmp_path / "sweep" / "3" / "run.json").read_text())
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "qv0.json").write_text(json.dumps(tree), encoding="utf-8")
    assert main(["explain", str(tmp_path / "sweep" / "0"), str(tmp_path / "runs/qv0.json")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 9 values in config differ: A B lora.label all_linear qv" in said
