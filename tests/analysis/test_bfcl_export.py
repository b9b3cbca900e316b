"""Aggregates of categories, and a run's answers in the layout of the benchmark."""

from pathlib import Path
from typing import Any

import pytest

from experiments import records
from experiments.analysis import bfcl_scores
from experiments.analysis.bfcl_scores import BfclFiles, aggregate
from experiments.cli.main import main
from experiments.errors import ConfigError, DataError, RecordError
from experiments.toolcalls import bfcl
from experiments.toolcalls.bfcl import export
from support.bfcl_golds import gold, lines, question, rows


def test_aggregates_say_what_they_hold_and_what_is_missing() -> None:
    non_live, live, relevance = aggregate(
        {"simple_python": [True] * 4, "multiple": [True, False], "live_simple": [True] * 3,
         "live_parallel": [False], "live_relevance": [True]},
    )  # fmt: skip
    assert non_live.name == "bfcl_ast_non_live_python"
    assert (non_live.interval.estimate, non_live.interval.n) == (0.75, 6)
    assert non_live.missing == ("parallel", "parallel_multiple")
    assert (live.interval.estimate, live.interval.n) == (0.75, 4)
    assert str(live) == (
        "bfcl_ast_live, without live_multiple, live_parallel_multiple: "
        "0.7500 [0.3006, 0.9544] (95 %, n = 4)"
    )
    assert relevance.missing == ()
    assert aggregate({}) == []
    with pytest.raises(ConfigError, match="simple_java"):
        aggregate({"simple_java": [True]})


def test_the_interval_of_a_mean_of_one_share_is_that_of_the_share() -> None:
    [one] = aggregate({"irrelevance": [True, True, False]})
    assert (one.interval.low, one.interval.high) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    [both] = aggregate({"irrelevance": [True] * 99 + [False], "live_irrelevance": [True] * 100})
    low, high = both.interval.low, both.interval.high
    assert low is not None and high is not None
    assert 0.96 < low < both.interval.estimate == 0.995 < high <= 1.0


def test_an_aggregate_is_never_called_overall() -> None:
    everything = aggregate({category: [True] for category in bfcl.categories()})
    names = [part.name for part in everything]
    assert names == [
        "bfcl_ast_non_live_python", "bfcl_ast_live", "bfcl_irrelevance", "bfcl_live_relevance",
    ]  # fmt: skip
    assert not any(part.missing for part in everything)


def finished(folder: Path, *items: dict[str, Any], status: str = "finished") -> Path:
    record = records.Record("0123456789ab", status=status, folder=folder)
    records.write(record)
    records.write_items(record, items)
    return folder


def item(model: str, id_: str, text: str, valid: float, split: str = "simple_python") -> Any:
    scores = {"bfcl_ast/valid": valid, "bfcl_ast/malformed": 0.0}
    return {"model": model, "split": f"bfcl_{split}", "id": id_, "text": text, "scores": scores}


CALL = '<tool_call>\n{"name": "f", "arguments": {"x": %d}}\n</tool_call>'


def test_a_runs_answers_are_exported_in_the_layout_of_bfcl_and_score_the_same(
    tmp_path: Path,
) -> None:
    thought = "<think>\n" + CALL % 2 + "\n</think>\n\n" + CALL % 1
    run = finished(
        tmp_path / "run",
        item("base", "a", "No \ud83d\ude00.", 0.0),
        item("base", "b", CALL % 2, 0.0),
        item("tuned", "a", thought, 1.0),
        item("tuned", "b", CALL % 1, 1.0),
        item("tuned", "i", "No.", 1.0, split="live_irrelevance"),
        {"model": "tuned", "split": "test", "id": "t", "text": "", "scores": {}},
    )
    printed = bfcl_scores.export_run(run, tmp_path / "out")
    assert printed[0].startswith("run-base bfcl_ast_non_live_python, without multiple, parallel,")
    written = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/**/*.*")
    )
    assert written == [
        "result/run-base/non_live/BFCL_v4_simple_python_result.json",
        "result/run-tuned/live/BFCL_v4_live_irrelevance_result.json",
        "result/run-tuned/non_live/BFCL_v4_simple_python_result.json",
        "score/run-base/non_live/BFCL_v4_simple_python_score.json",
        "score/run-tuned/live/BFCL_v4_live_irrelevance_score.json",
        "score/run-tuned/non_live/BFCL_v4_simple_python_score.json",
    ]
    total, *failing = rows(tmp_path / "out" / written[3])
    assert total == {"accuracy": 0.0, "correct_count": 0, "total_count": 2}
    assert [(row["id"], row["valid"]) for row in failing] == [("a", False), ("b", False)]
    result = rows(tmp_path / "out" / written[2])
    assert result[0] == {"id": "a", "result": CALL % 1, "reasoning_content": CALL % 2}
    for path, right in ((written[0], 0), (written[2], 2)):
        given = BfclFiles(
            "simple_python",
            lines(tmp_path / "q", question("a"), question("b")),
            lines(tmp_path / "g", gold("a"), gold("b")),
            tmp_path / "out" / path,
            "tool_call",
        )
        bfcl_scores.score_bfcl(given, tmp_path / "again")
        assert sum(row["valid"] for row in rows(tmp_path / "again")) == right


def test_the_export_verb_refuses_what_it_cannot_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path / "run", item("base", "a", "", 1.0))
    words = ["export", str(run), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main(words) == 1
    assert "out is not empty: name a new folder." in capsys.readouterr().err
    with pytest.raises(RecordError, match=r"there is no run\.json in .*nowhere"):
        bfcl_scores.export_run(tmp_path / "nowhere", tmp_path / "new")
    with pytest.raises(RecordError, match="is failed, not finished"):
        bfcl_scores.export_run(finished(tmp_path / "f", status="failed"), tmp_path / "new")
    with pytest.raises(DataError, match="has no answers to a split named bfcl_<category>"):
        bfcl_scores.export_run(finished(tmp_path / "e"), tmp_path / "new")
    java = finished(tmp_path / "j", item("base", "a", "", 1.0, split="simple_java"))
    with pytest.raises(ConfigError, match="simple_java"):
        bfcl_scores.export_run(java, tmp_path / "new")
    bare = item("base", "a", "", 1.0) | {"scores": {}}
    with pytest.raises(DataError, match="the answer to 'a' has no score bfcl_ast/valid"):
        bfcl_scores.export_run(finished(tmp_path / "b", bare), tmp_path / "new")


def test_a_slash_in_a_models_name_is_no_folder(tmp_path: Path) -> None:
    row = export.Answered("multiple", "a", "", True)
    paths = export.write(tmp_path, "org/name", [row])
    assert paths[0].relative_to(tmp_path).as_posix() == (
        "result/org_name/non_live/BFCL_v4_multiple_result.json"
    )
