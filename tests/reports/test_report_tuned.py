"""The report of a tuned sweep: a line an arm at its own best rate, and many records in one file."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from experiments import records, reports
from experiments.analysis import arms
from experiments.analysis.arms import Design
from experiments.errors import RecordError
from experiments.records import Record, archive
from experiments.reports import comparison_rule
from experiments.reports.arm_report import build
from experiments.reports.comparison_rule import ComparisonRule
from experiments.reports.explain import run_comparison
from experiments.runs import verification
from support.arm_records import parabola, tuned_records

FULL, LORA = ("lora=none",), ("lora=all_linear",)


def tuned_sweep(folder: Path, diverges_from: float = 1.0) -> list[Record]:
    """Write two arms, one with its optimum a decade above the other's and a higher loss."""
    low, high = arms.first_grid(1e-3)
    made = tuned_records(parabola(1e-3), Design(low, high), FULL)
    made += tuned_records(
        parabola(1e-2, floor=0.3), Design(low + 4, high + 4), LORA, diverges_from=diverges_from
    )
    for number, record in enumerate(made):
        record.run_id, record.folder = f"{number:012x}", folder / str(number)
        records.write(record)
        item = {
            "model": "tuned",
            "split": "test",
            "id": "row",
            "scores": {"calls/exact": number % 2},
        }
        records.write_items(record, [item])
    return made


def table_csv(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "table.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.slow
def test_a_tuned_sweep_has_one_line_an_arm_at_its_own_best_rate(tmp_path: Path) -> None:
    made = tuned_sweep(tmp_path / "sweep")
    compared(tmp_path / "sweep", ComparisonRule(margin=0.05))
    reports.write(tmp_path / "sweep", tmp_path / "out", html=True)
    base, full, lora = table_csv(tmp_path / "out")
    assert base["arm"] == "base (untuned)" and not base["best_rate"]
    assert (full["best_rate"], lora["best_rate"]) == ("0.001", "0.01")
    assert float(lora["optimum_rate low"]) < 0.01 < float(lora["optimum_rate high"])
    assert (full["seeds"], lora["seeds"], lora["difference verdict"]) == ("5", "5", "worse")
    assert float(lora["difference"]) == pytest.approx(0.2, abs=0.01)
    runs = (tmp_path / "out" / "runs.csv").read_text(encoding="utf-8").splitlines()
    assert len(runs) == 1 + len(made)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for name in ("learning_rates", "excess_loss", "differences"):
        assert (tmp_path / "out" / "figures" / f"{name}.svg").is_file()
        assert f'alt="{name}"' in page
    tex = (tmp_path / "out" / "table.tex").read_text(encoding="utf-8")
    assert tex.count("\\\\\n") == 4 and "worse" in tex


def test_arms_are_compared_with_the_first_that_differs_in_the_adapter_alone(
    tmp_path: Path,
) -> None:
    few = tuned_sweep(tmp_path / "few")
    many = tuned_sweep(tmp_path / "many")
    for number, record in enumerate(many):
        record.config["data"] = {"label": "mixed", "train_rows": 1280}
        record.overrides.append("data.train_rows=1280")
        record.run_id = f"b{number:011x}"
    tuning = build([*few, *many], [], ComparisonRule(margin=0.05)).tuning
    assert tuning is not None
    assert [one.arm.arm.label for one in tuning.references] == [
        "lora=none", "lora=none data.train_rows=1280",
    ]  # fmt: skip
    found = {one.reference.arm.label: one.finding for one in tuning.contrasts.values()}
    assert found == {"lora=none": "worse", "lora=none data.train_rows=1280": "worse"}


def test_a_rate_at_which_training_diverged_is_no_failure(tmp_path: Path) -> None:
    tuned_sweep(tmp_path / "sweep", diverges_from=0.03)
    text = reports.summarise(tmp_path / "sweep")
    assert "lora=all_linear: training diverged at learning rate 0.0316" in text
    assert "Failed" not in text
    assert "finished, 2 diverged." in text or "finished, 1 diverged." in text


def test_a_grid_of_half_decades_stays_a_line_a_rate(tmp_path: Path) -> None:
    half = [r for r in tuned_sweep(tmp_path / "s") if r.config["trainer"]["learning_rate"] in
            (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2)]  # fmt: skip
    assert build(half, []).tuning is None


@pytest.mark.slow
def test_many_records_are_one_file_that_is_read_like_the_many(tmp_path: Path) -> None:
    sweep, out = tmp_path / "sweep", tmp_path / "out"
    made = tuned_sweep(sweep)
    few = [record.run_id for record in made[: archive.MANY]]
    for record in made[archive.MANY :]:
        record.path.unlink()
    reports.write(sweep, out)
    assert (out / "runs" / f"{few[0]}.json").is_file()  # up to MANY, a file a run
    for number in range(archive.MANY + 1):
        record = made[number % len(made)]
        twin = Record(**{**vars(record), "run_id": f"a{number:011x}"})
        twin.folder = sweep / f"t{number}"
        records.write(twin)
    reports.write(sweep, out)
    assert {f.name for f in (out / "runs").iterdir()} == {archive.RECORDS, archive.ITEMS}
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    reports.write(out, out)
    assert before == {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    again = {r.run_id: r for r in archive.read_all(out)}
    assert again.keys() == {r.run_id for r in records.read_all(sweep)}
    kept = next(r for r in again.values() if archive.items(r))
    assert archive.items(kept)[0]["id"] == "row"
    [one] = archive.read_all(out / "runs" / f"{few[0]}.json")
    assert (one.scores, one.config) == (made[0].scores, made[0].config)
    paths = [out / "runs" / f"{run_id}.json" for run_id in few[:2]]
    assert run_comparison.explain(*paths).parts
    assert verification.choose(out, few[0])[1].run_id == few[0]
    with pytest.raises(RecordError, match="no such file or folder"):
        run_comparison.explain(out / "runs" / "nobody.json", paths[0])


def test_a_broken_archive_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    file = tmp_path / "runs" / archive.RECORDS
    file.write_bytes(b"not gzip")
    with pytest.raises(
        RecordError, match=r"records\.jsonl\.gz is incomplete or damaged \(.*\): fetch it again"
    ):
        archive.read_all(tmp_path)
    newer = json.dumps({"schema_version": 7, "run_id": "a"}) + "\n"
    file.write_bytes(gzip.compress(newer.encode()))
    with pytest.raises(RecordError, match="schema version 7"):
        archive.read_all(tmp_path)


def compared(sweep: Path, comparison: ComparisonRule) -> None:
    (sweep / comparison_rule.FILE_NAME).write_text(
        comparison_rule.text(comparison), encoding="utf-8"
    )


@pytest.mark.slow
def test_the_margin_that_a_sweep_was_started_with_decides_in_its_report(tmp_path: Path) -> None:
    tuned_sweep(tmp_path / "sweep")
    compared(tmp_path / "sweep", ComparisonRule(margin=0.5))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert table_csv(tmp_path / "out")[2]["difference verdict"] == "tied"
    reports.write(tmp_path / "out", tmp_path / "again")
    for name in ("README.md", "table.csv", "comparison.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    compared(tmp_path / "sweep", ComparisonRule())
    reports.write(tmp_path / "sweep", tmp_path / "out")
    assert table_csv(tmp_path / "out")[2]["difference verdict"] == ""
    assert not (tmp_path / "out" / "comparison.json").exists()


@pytest.mark.slow
def test_a_sweep_that_compares_another_score_has_that_score_in_its_report(tmp_path: Path) -> None:
    for record in tuned_sweep(tmp_path / "sweep"):
        adapted = "lora=all_linear" in record.overrides
        record.scores["tuned"]["calls/exact"] = (
            0.9 if adapted else 0.5 + record.config["seed"] / 1e6
        )
        record.counts = {"tuned": {"calls/exact": 1000}}
        records.write(record)
    compared(tmp_path / "sweep", ComparisonRule("calls/exact", 0.1))
    reports.write(tmp_path / "sweep", tmp_path / "out")
    lora = table_csv(tmp_path / "out")[2]
    assert float(lora["difference"]) == pytest.approx(0.4, abs=0.05)
    assert lora["difference verdict"] == "better"
    assert "exact" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
