"""A run of a row is repeated: its scores are identical, equal up to rounding, noise, or differ."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from conftest import FEW_ROWS, Cli
from experiments import records
from experiments.cli.main import main
from experiments.errors import ConfigError, RecordError
from experiments.records import Record
from experiments.runs import verification
from support.report_records import answered, put, record, two_arms, with_items


def again(folder: Path, exact: float, **given: Any) -> Record:
    put(folder, record("qv0", lora="qv", exact=exact, **given))
    return records.read(folder / "run.json")


def test_a_row_is_named_as_in_the_table_or_by_a_runs_id(tmp_path: Path) -> None:
    two_arms(tmp_path)
    row, run = verification.choose(tmp_path, "lora=qv")
    assert (row.label, run.run_id, len(row.runs)) == ("lora=qv", "qv0", 3), "the lowest seed"
    assert verification.choose(tmp_path, "all_linear2")[1].run_id == "all_linear2"
    with pytest.raises(ConfigError) as caught:
        verification.choose(tmp_path, "lora=qw")
    assert str(caught.value) == (
        f"--verify 'lora=qw': {tmp_path} has no such row and no such run; did you mean 'lora=qv'? "
        "Allowed: lora=all_linear, lora=qv."
    )
    with pytest.raises(RecordError, match="holds no record that can be read"):
        verification.choose(tmp_path / "absent", "lora=qv")


def test_seed_noise_is_what_two_seeds_differ_by(tmp_path: Path) -> None:
    values = [0.65, 0.74, 0.85]
    noise = verification.seed_noise(values)
    # t(2) at 97.5 % is 4.303 (any table of Student's t).
    assert noise == pytest.approx(4.3027 * statistics.stdev(values) * 2**0.5, rel=1e-4)
    assert verification.seed_noise([0.5]) is None
    assert verification.seed_noise([0.5, float("nan")]) is None


@pytest.mark.parametrize(
    ("exact", "verdict"),
    [
        (0.65, "identical"),
        (0.650005, "equal up to rounding"),
        (0.70, "within noise"),
        (0.03, "not reproduced"),  # 0.62 away, seeds are 0.61 apart
    ],
)
def test_a_repetition_is_judged_by_the_spread_of_the_rows_seeds(
    tmp_path: Path, exact: float, verdict: str
) -> None:
    two_arms(tmp_path / "sweep")
    row, run = verification.choose(tmp_path / "sweep", "lora=qv")
    found = verification.compare(row, run, again(tmp_path / "again", exact))
    tuned = next(c for c in found.checks if c.kind == "tuned" and c.score.key == "calls/exact")
    assert tuned.verdict == verdict
    assert all(check.verdict == "identical" for check in found.checks if check.kind == "base")
    assert bool(found.not_reproduced) == (verdict == "not reproduced")


def test_with_one_seed_it_is_judged_by_the_test_rows(tmp_path: Path) -> None:
    for name, turned in (("a", 0), ("b", 2), ("c", 40)):
        items = answered("tuned", 0.85)
        right = [item for item in items if item["scores"].get("calls/exact")]
        for item in right[:turned]:
            item["scores"]["calls/exact"] = 0.0
        put(tmp_path / name, with_items(record("run"), items), items)
    row, run = verification.choose(tmp_path / "a", "tuned")
    for name, verdict in (("b", "within noise"), ("c", "not reproduced")):
        found = verification.compare(row, run, records.read(tmp_path / name / "run.json"))
        exact = next(check for check in found.checks if check.score.key == "calls/exact")
        assert (exact.seed_noise, exact.verdict) == (None, verdict)


def test_what_is_not_reproduced_is_named_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_arms(tmp_path / "sweep")
    row, run = verification.choose(tmp_path / "sweep", "lora=qv")
    identity = {"code_sha256": "new", "data_fingerprint": "da7a", "base_sha256": "ba5e"}
    found = verification.compare(row, run, again(tmp_path / "again", 0.0, identity=identity))
    with pytest.raises(RecordError) as caught:
        verification.show(found)
    assert str(caught.value) == (
        "2 of 4 scores were not reproduced (calls/exact, loss/nll): `python -m experiments "
        f"explain {tmp_path}/sweep/3/run.json {tmp_path}/again` says what else differs."
    )
    said = capsys.readouterr().out
    assert "Since the record, code_sha256 changed." in said
    assert "4 scores: 2 identical, 2 not reproduced." in said


def test_verify_of_an_unknown_row_or_without_a_folder_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_arms(tmp_path)
    assert main(["report", str(tmp_path), "--verify", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: --verify 'x': ")
    assert main(["report", "--items", "a", "b", "--verify", "x"]) == 1
    assert "--verify needs a report's folder, not --items" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_run_made_again_from_its_report_is_identical(cli: Cli, tmp_path: Path) -> None:
    done = cli(*FEW_ROWS, "lora.r=2", "hydra.run.dir=outputs/one/0")
    assert done.returncode == 0, done.stderr
    assert cli("report", "outputs/one", module=True).returncode == 0
    shown = cli("report", "outputs/reports/one", "--verify", "tuned", module=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    last = shown.stdout.splitlines()[-1]
    assert last.endswith(" identical.") and "within" not in last
    [made] = (tmp_path / "outputs" / "verify").glob("*/run.json")
    first = json.loads((tmp_path / "outputs" / "one" / "0" / "run.json").read_text())
    assert json.loads(made.read_text())["run_id"] == first["run_id"]
