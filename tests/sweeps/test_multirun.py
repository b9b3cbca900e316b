"""A sweep's folder: who lives where, how far it is, what may go; and its grammar of values."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import Cli
from experiments import records, reports
from experiments.errors import ConfigError, RecordError
from experiments.records import Record
from experiments.sweeps import cleaning, plan, status
from experiments.sweeps.hydra import grammar
from experiments.sweeps.study.space import Axis, Choice, Integers, Reals


def write(folder: Path, run_id: str, state: str = "finished", **fields: Any) -> Record:
    record = Record(run_id, status=state, folder=folder, **fields)
    records.write(record)
    return record


def finished(folder: Path, run_id: str, loss: float, **fields: Any) -> Record:
    fields["objective"] = {"name": "validation/loss/nll", "direction": "minimize", "value": loss}
    fields["timing"] = {"total_seconds": 3600.0}
    return write(folder, run_id, **fields)


def test_a_run_keeps_the_folder_of_its_record_and_no_other_run_gets_it(tmp_path: Path) -> None:
    write(tmp_path / "0", "aaa")
    write(tmp_path / "1", "bbb")
    folders = plan.Folders(tmp_path)
    assert folders.assign("bbb", "0") == "1"
    assert folders.assign("new", "0") == "0_2"
    assert folders.assign("other", "0") == "0_3"
    assert folders.assign("fifth", "4") == "4"
    assert folders.assign("fifth", "9") == "4"


def test_a_finished_record_goes_before_a_failed_one_of_the_same_run(tmp_path: Path) -> None:
    write(tmp_path / "0", "aaa", "failed", started_at="2030")
    write(tmp_path / "0_2", "aaa", "finished", started_at="2020")
    assert plan.Folders(tmp_path).assign("aaa", "0") == "0_2"


def test_a_broken_record_is_named_and_kept_and_its_folder_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "run.json").write_text('{"schema_version": 1, "run_')
    assert plan.Folders(tmp_path).assign("aaa", "0") == "0_2"
    out = capsys.readouterr().out
    assert out.startswith(f"not counted: {tmp_path}/0/run.json is not a valid record (")
    assert out.rstrip().endswith("move it away to repeat the run.")
    assert (tmp_path / "0" / "run.json").read_text() == '{"schema_version": 1, "run_'


def test_a_record_of_a_newer_schema_stops_the_sweep_with_its_version(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "run.json").write_text('{"schema_version": 7, "run_id": "aaa"}')
    with pytest.raises(RecordError) as caught:
        plan.Folders(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/0/run.json has schema version 7, but this program reads only "
        "up to 1: update the program."
    )


def test_status_counts_what_is_done_and_what_is_left(tmp_path: Path) -> None:
    plan.write(tmp_path, plan.SweepPlan("grid", 7, list("abcdefg")))
    finished(tmp_path / "0", "a", 0.5, overrides=["seed=0", "lora=qv"])
    finished(tmp_path / "1", "b", 0.4, overrides=["seed=1", "lora=qv"])
    write(tmp_path / "2", "c", "failed")
    write(tmp_path / "3", "d", "pruned")
    write(tmp_path / "4", "e", "running")
    write(tmp_path / "9", "another sweep's")
    found = status.read(tmp_path)
    own = {"finished": 2, "failed": 1, "pruned": 1, "interrupted": 1, "not begun": 2}
    assert found.counts == own  # 7 in all
    assert (found.to_do, found.hours_left, found.settled) == (4, 4.0, 3)
    assert str(found) == (
        "2 finished, 1 failed, 1 pruned, 1 interrupted, 2 not begun (4 of 7 to do), about 4.0 h "
        "left, best so far validation/loss/nll 0.4 in 1 (seed=1 lora=qv)"
    )
    with FileLock(tmp_path / "4" / ".lock"):
        assert status.read(tmp_path).counts["running"] == 1
        assert status.read(tmp_path).to_do == 3


def test_a_diverged_run_of_a_tuned_sweep_is_not_to_do(tmp_path: Path) -> None:
    finished(tmp_path / "0", "a", 0.5)
    write(tmp_path / "1", "b", "failed", error={"type": "TrainingError", "step": 4})
    write(tmp_path / "2", "c", "failed", error={"type": "DataError"})
    plan.write(tmp_path, plan.SweepPlan("tuned", 3, list("abc")))
    found = status.read(tmp_path)
    assert found.counts == {"finished": 1, "failed": 1, "diverged": 1}
    assert (found.to_do, found.settled) == (1, 2)
    plan.write(tmp_path, plan.SweepPlan("grid", 3, list("abc")))
    assert status.read(tmp_path).to_do == 2


def test_the_table_counts_every_status_and_names_what_failed(tmp_path: Path) -> None:
    for number in range(22):
        finished(tmp_path / str(number), f"run{number}", 0.5, job=number, config={"seed": number})
    error = {"type": "OutOfMemoryError", "message": "out of memory"}
    write(tmp_path / "22", "bad", "failed", job=22, error={"type": "DataError", "message": "gone"})
    write(tmp_path / "23", "slow", "pruned", job=23)
    write(tmp_path / "24", "big", "oom", job=24, error=error)
    text = reports.summarise(tmp_path)
    assert "22 finished, 1 failed, 1 pruned, 1 oom." in text
    assert "Failed: job 22, bad: DataError: gone" in text
    assert "Failed: job 24, big: OutOfMemoryError: out of memory" in text


def test_status_names_a_clock_that_is_ahead_and_a_broken_record(tmp_path: Path) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=20)
    finished(tmp_path / "0", "a", 0.5, started_at=ahead.isoformat())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "run.json").write_text("{")
    broken, skewed = status.read(tmp_path).notes
    assert broken.startswith("not counted: 1/run.json is not a valid record (")
    assert skewed == (
        "the clock of the machine that wrote 0 is 20 min ahead of this one: synchronise the clocks "
        "(NTP), because of two finished records of one run the later one counts."
    )


def test_status_of_a_folder_without_a_sweep_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    done = cli("status", "nowhere", module=True, fresh=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: nowhere contains no sweep: name the folder of one, for example outputs/NAME."
    )
    (tmp_path / ".sweep.json").write_text('{"kind": "grid"')
    with pytest.raises(RecordError, match=r"\.sweep\.json is incomplete \(.*\): rerun the same"):
        status.read(tmp_path)


def checkpoints(folder: Path) -> None:
    (folder / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-3" / "weights").write_bytes(b"0" * 1000)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"1" * 10)


def test_clean_shows_and_with_yes_removes_what_settled_runs_left(cli: Cli, tmp_path: Path) -> None:
    for name, state in (("0", "finished"), ("1", "pruned"), ("2", "failed"), ("3", "finished")):
        write(tmp_path / "outputs" / "s" / name, name, state)
        checkpoints(tmp_path / "outputs" / "s" / name)
    (tmp_path / "outputs/s/0/items.jsonl.gz.partial").write_bytes(b"2" * 10)
    (tmp_path / "outputs/s/3/.hydra").mkdir()
    (tmp_path / "outputs/s/3/.hydra/config.yaml").write_text("trainer:\n  keep: all\n")
    before = sorted(tmp_path.rglob("*"))
    shown = cli("clean", module=True)
    assert shown.returncode == 0, shown.stderr
    for text in (
        "0.0 MB  outputs/s/0/checkpoints  (the run is finished)",
        "0.0 MB  outputs/s/0/items.jsonl.gz.partial  (partially written)",
        "0.0 MB  outputs/s/1/checkpoints  (the run is pruned)",
        "outputs/s/2: its checkpoints are kept, because the run is failed and resumes from them",
        "outputs/s/3: its checkpoints are kept, because trainer.keep=all asks for them",
        "0.0 MB  3 listed; --yes removes them; adapters and records are kept",
    ):
        assert text in shown.stdout
    assert sorted(tmp_path.rglob("*")) == before
    done = cli("clean", "outputs/s", "--yes", module=True)
    assert "3 removed; adapters and records are kept" in done.stdout
    left = {
        p.relative_to(tmp_path / "outputs/s").as_posix() for p in tmp_path.glob("outputs/s/*/*")
    }
    assert left == {
        *(f"{n}/run.json" for n in range(4)), *(f"{n}/adapter" for n in range(4)),
        "2/checkpoints", "3/checkpoints", "3/.hydra",
    }  # fmt: skip
    assert "nothing to remove" in cli("clean", "outputs/s", "--yes", module=True).stdout


def test_sweeps_in_nested_folders_are_found_and_reports_are_not(tmp_path: Path) -> None:
    for name in ("s/0", "claims/placement/0", "claims/placement/0/checkpoints/1", "reports/s/0"):
        write(tmp_path / name, "a")
    assert cleaning.sweep_folders(tmp_path) == [tmp_path / "claims/placement", tmp_path / "s"]


def test_a_run_at_work_is_not_cleaned(tmp_path: Path) -> None:
    write(tmp_path / "0", "a")
    checkpoints(tmp_path / "0")
    with FileLock(tmp_path / "0" / ".lock"):
        assert cleaning.leftovers(tmp_path) == ([], [f"{tmp_path}/0: a process is using it"])
    with pytest.raises(RecordError, match="contains no readable run"):
        cleaning.leftovers(tmp_path / "empty")


def axis(text: str) -> Axis:
    [override] = OverridesParser.create().parse_overrides([f"x={text}"])
    return grammar.axis(override)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choice(4,16)", Choice((4, 16), ("4", "16"))),
        ("a,b", Choice(("a", "b"), ("a", "b"))),
        ("[q_proj],[v_proj,k_proj]", Choice(("[q_proj]", "[v_proj,k_proj]"),
                                            ("[q_proj]", "[v_proj,k_proj]"))),
        ("true,null,0.5", Choice((True, None, 0.5), ("True", "null", "0.5"))),
        ("range(1,9,3)", Integers(1, 7, 3)),
        ("range(1,3)", Integers(1, 2)),
        ("range(9,1,-4)", Integers(5, 9, 4)),
        ("tag(log,range(1,65))", Integers(1, 64, log=True)),
        ("interval(1,64)", Reals(1.0, 64.0)),
        ("int(interval(1,64))", Integers(1, 64)),
        ("tag(log,int(interval(1,64)))", Integers(1, 64, log=True)),
        ("interval(0.1,2)", Reals(0.1, 2.0)),
        ("tag(log,interval(1e-5,1e-2))", Reals(1e-5, 1e-2, log=True)),
    ],
)  # fmt: skip
def test_the_grammar_is_hydras(text: str, expected: Axis) -> None:
    assert axis(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tag(log,interval(0,1))", "x=tag(log,interval(0,1)): the lower end must be above 0 with "
         "tag log, and at most the upper"),
        ("interval(2,1)", "x=interval(2,1): the lower end must be at most the upper"),
        ("tag(often,interval(1,2))", "x=tag(often,interval(1,2)): tag often is not supported"),
        ("tag(log,choice(1,2))", "x=tag(log,choice(1,2)): tag log is for interval(...) and "
         "range(...)"),
        ("tag(log,range(1,9,2))", "x=tag(log,range(1,9,2)): the range needs step 1 and numbers "
         "from 1 on with tag log"),
        ("range(3,3)", "x=range(3,3): the range needs at least one number"),
        ("choice(1,1)", "x=choice(1,1): a value is listed twice"),
    ],
)  # fmt: skip
def test_what_the_grammar_does_not_mean_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        axis(text)
    assert str(caught.value) == sentence


def test_the_plan_says_which_of_the_records_belong(tmp_path: Path) -> None:
    plan.write(tmp_path, plan.SweepPlan("tpe", 30, seeds_per_trial=3))
    assert plan.read(tmp_path) == plan.SweepPlan("tpe", 30, seeds_per_trial=3)
    assert json.loads((tmp_path / ".sweep.json").read_text())["total"] == 30
