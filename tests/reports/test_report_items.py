"""Two runs compared item by item: what is joined, what is only counted, and McNemar's p."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Cli
from experiments import reports
from experiments.analysis.statistics import mcnemar_exact
from experiments.errors import RecordError


def item(row: int, exact: float, *, model: str = "tuned", split: str = "test") -> dict[str, Any]:
    return {
        "model": model,
        "split": split,
        "id": f"row-{row}",
        "category": "single",
        "text": f"answer {row} of {model}",
        "scores": {
            "calls/exact": exact,
            "calls/malformed": 1.0 - exact,
            "generation/new_tokens": exact,
            "json_output/values": 0.5,
        },
    }


def put(
    folder: Path,
    items: list[Any],
    *,
    data: str = "da7a",
    status: str = "finished",
    more: Any = None,
) -> Path:
    folder.mkdir(parents=True)
    tree = {"schema_version": 1, "run_id": folder.name, "status": status, "overrides": ["seed=1"]}
    tree["identity"] = {"data_fingerprint": data}
    tree |= more or {}
    (folder / "run.json").write_text(json.dumps(tree), encoding="utf-8")
    if items:
        lines = "".join(json.dumps(entry) + "\n" for entry in items)
        (folder / "items.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    return folder


def run(folder: Path, exact: str, **given: Any) -> Path:
    """Write a run whose items are right or wrong as the digits of `exact` say."""
    return put(folder, [item(row, float(digit)) for row, digit in enumerate(exact)], **given)


def cells(text: str, score: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [score])


def test_the_mode_of_thinking_and_the_form_of_calls_are_named(tmp_path: Path) -> None:
    asked = {"thinking": "off", "switch": "enable_thinking", "given": "enable_thinking=false"}
    scored: Any = {"evaluation": {"tuned": {"asked": asked}}}
    scored["data"] = {"call_form": {"name": "json", "example": '{"name": "f"}'}}
    older: Any = {"evaluation": {"tuned": {"rows": 3}}, "data": {}}
    a, b = run(tmp_path / "a", "110", more=scored), run(tmp_path / "b", "100", more=older)
    text = reports.items.describe(reports.items.join(a, b), 300)
    shown = 'thinking in answers: off (enable_thinking=false); calls are written as json: {"name"'
    assert f"A: {shown}" in text
    assert "B: thinking in answers: as_data (mode not recorded); calls are written as" in text


def test_items_are_counted_by_who_solves_them_with_mcnemars_p(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", "1111110000"), run(tmp_path / "b", "1000000001")
    text = reports.items.describe(reports.items.join(a, b), 140)
    assert cells(text, "calls/exact") == ["calls/exact", "10", "1", "5", "1", "3", "0.2188"]
    assert "calls/exact, solved only by A: row-1, row-2, row-3, row-4, row-5\n" in text
    assert "calls/exact, solved only by B: row-9\n" in text
    assert f"A: tuned model of {a} (run a; seed=1)" in text
    assert "and are not compared" not in text and "The data of the runs differ" not in text


def test_a_score_that_is_better_when_lower_is_solved_at_0(tmp_path: Path) -> None:
    joined = reports.items.join(run(tmp_path / "a", "110"), run(tmp_path / "b", "100"))
    assert {t.score: len(t.only_a) for t in joined.tables} == {
        "calls/exact": 1,
        "calls/malformed": 1,
    }


def test_splits_are_joined_apart_and_their_items_named(tmp_path: Path) -> None:
    a = put(tmp_path / "a", [item(0, 1.0), item(0, 1.0, split="unseen_tools")])
    b = put(tmp_path / "b", [item(0, 1.0), item(0, 0.0, split="unseen_tools")])
    text = reports.items.describe(reports.items.join(a, b), 140)
    assert cells(text, "calls/exact")[2:] == ["1", "0", "0", "0", "1.0000"]
    assert cells(text, "unseen_tools/calls/exact")[2:] == ["0", "1", "0", "0", "1.0000"]
    assert "unseen_tools/calls/exact, solved only by A: unseen_tools/row-0" in text


def test_the_tuned_model_is_taken_and_the_base_model_where_nothing_was_tuned(
    tmp_path: Path,
) -> None:
    a = put(tmp_path / "a", [item(0, 0.0, model="base"), item(0, 1.0)])
    b = put(tmp_path / "b", [item(0, 0.0, model="base")])
    joined = reports.items.join(a, b)
    assert (joined.a.kind, joined.b.kind) == ("tuned", "base")
    assert joined.tables[0].only_a == [("test", "row-0")]


def test_items_of_one_run_only_and_repeated_ones_are_counted_and_named(tmp_path: Path) -> None:
    a = put(tmp_path / "a", [item(row, 1.0) for row in [*range(15), 3]])
    b = run(tmp_path / "b", "11", data="0ther", status="interrupted")
    text = reports.items.describe(reports.items.join(a, b), 140)
    assert "2 items are in both runs." in text
    assert "13 items are only in A and are not compared: row-2, row-3," in text
    assert ", row-11 and 3 more\n" in text
    assert "1 items of A repeat the split and id of an earlier one and are left out: row-3" in text
    assert "The data of the runs differ (fingerprints da7a and 0ther)" in text
    assert "(run b, interrupted; seed=1)" in text


def test_the_command_prints_and_writes_both_texts(tmp_path: Path, cli: Cli) -> None:
    a, b = run(tmp_path / "a", "10"), run(tmp_path / "b", "01")
    done = cli("report", "--items", str(a), str(b), "--out", "new/out.jsonl", module=True)
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout, "calls/exact")[1:] == ["2", "0", "1", "1", "0", "1.0000"]
    assert "wrote 4 items to new/out.jsonl" in done.stdout
    lines = (tmp_path / "new" / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "score": "calls/exact",
        "split": "test",
        "id": "row-0",
        "category": "single",
        "solved_by": "A",
        "text_a": "answer 0 of tuned",
        "text_b": "answer 0 of tuned",
    }
    assert len(lines) == 4
    both = cli("report", str(a), "--items", str(a), str(b), module=True)
    assert both.stderr == (
        "error: report needs either --items A B or the folder of a run, a sweep or a report.\n"
    )


def test_what_is_no_pair_of_runs_is_one_sentence(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    a, other = run(runs / "a", "10"), put(runs / "other", [item(7, 1.0)])
    bare, numbers = put(runs / "bare", []), put(runs / "numbers", [1])
    cut, empty = tmp_path / "cut", tmp_path / "empty"
    cut.mkdir()
    empty.mkdir()
    (cut / "run.json").write_text("{", encoding="utf-8")
    for path, words in {
        empty: r"empty has no record: name the folder of one run, or one record",
        runs: r"runs has 4 records: name the folder of one run",
        bare: r"has a record \(finished\) but no items\.jsonl\.gz, which is written",
        numbers: r"an item is not a JSON object",
        cut: r"--items .*cut: run\.json is not a valid record",
        other: r"the runs share no item \(same split and id\)",
    }.items():
        with pytest.raises(RecordError, match=words):
            reports.items.join(a, path)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    # The tails of the binomial distribution by hand: 2 (1 + 6) / 2^6, 2 / 2^10.
    [(0, 0, 1.0), (5, 1, 0.21875), (0, 10, 0.001953125), (7, 7, 1.0)],
)
def test_mcnemars_exact_p(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, abs=1e-12)


@settings(deadline=None)
@given(a=st.integers(0, 400), b=st.integers(0, 400))
def test_mcnemars_p_is_a_probability_and_has_no_side(a: int, b: int) -> None:
    assert 0.0 < mcnemar_exact(a, b) == mcnemar_exact(b, a) <= 1.0
    assert mcnemar_exact(a, a + b + 2) < mcnemar_exact(a, a)


def test_mcnemars_p_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="-1 and 2 are not counts of items"):
        mcnemar_exact(-1, 2)
