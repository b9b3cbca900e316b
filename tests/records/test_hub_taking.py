"""What an earlier runtime left in a folder is taken over whole, over nothing, and then goes on."""

import json
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from conftest import FEW_ROWS, Cli, load
from experiments import config, records, runs
from experiments.errors import OutOfBudget, RecordError
from experiments.records import Record, hub
from experiments.runs import Job
from experiments.runtime import budget

QUICK = FEW_ROWS


def left(folder: Path, *overrides: str, status: str = "interrupted", **fields: Any) -> Record:
    """Write the record of a run that another runtime made."""
    run = load(*QUICK, *overrides)
    record = Record(config.run_id(run), status=status, folder=folder, job=0, **fields)
    record.config = config.canonical(run)
    records.write(record)
    return record


def checkpoint(folder: Path, step: int, **state: Any) -> Path:
    """Write a checkpoint of the form that the trainer leaves."""
    made = folder / "checkpoints" / f"checkpoint-{step}"
    made.mkdir(parents=True)
    save_file({"weight": torch.ones(3)}, made / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": step}, made / name)
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step, **state}))
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Return an outputs folder of an earlier runtime that nobody may write to."""
    outputs = tmp_path / "mounted" / "outputs"
    one = left(outputs / "mine" / "0", "seed=0")
    (one.folder / "answers").mkdir()
    (one.folder / "answers" / "tuned_test.jsonl").write_text("{}\n")
    checkpoint(
        one.folder, 2, best_model_checkpoint="/content/outputs/mine/0/checkpoints/checkpoint-2"
    )
    left(outputs / "mine" / "1", "seed=1", status="finished")
    left(outputs / "other" / "0", "seed=2")
    for path in sorted(outputs.rglob("*"), reverse=True):
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    yield outputs
    for path in outputs.rglob("*"):
        path.chmod(stat.S_IRWXU)


def wanted(*seeds: int) -> dict[str, dict[str, Any]]:
    made = [load(*QUICK, f"seed={seed}") for seed in seeds]
    return {config.run_id(run): config.canonical(run) for run in made}


@pytest.mark.parametrize("source", [".", "mine"])
def test_a_sweeps_runs_are_copied_whole_and_can_be_written_to(
    mounted: Path, tmp_path: Path, source: str
) -> None:
    into = tmp_path / "outputs" / "mine"
    hub.take_sweep(str(mounted / source), into, wanted(0, 1, 2))
    assert sorted(p.name for p in into.iterdir()) == ["0", "1"]
    state = "0/checkpoints/checkpoint-2/trainer_state.json"
    there, here = tree(mounted / "mine"), tree(into)
    assert {k: v for k, v in there.items() if k != state} == {
        k: v for k, v in here.items() if k != state
    }
    assert json.loads(here[state])["best_model_checkpoint"] == str(
        into / "0" / "checkpoints" / "checkpoint-2"
    )
    (into / "0" / "checkpoints" / "new").mkdir()
    (into / "0" / "run.json").write_text("{}")


def test_what_is_here_already_is_left_as_it_is(
    mounted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "outputs" / "mine"
    own = left(into / "7", "seed=0", name="my own")
    left(into / "1", "seed=5")
    before = tree(into)
    hub.take_sweep(str(mounted), into, wanted(0, 1))
    after = tree(into)
    assert {k: after[k] for k in before} == before
    assert {k.split("/")[0] for k in after} == {"7", "1", "1_2"}
    assert f"run {own.run_id} is already in {into}/7: not copied" in capsys.readouterr().out


def test_a_checkpoint_that_was_cut_off_is_named_and_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = left(tmp_path / "there" / "mine" / "0", "seed=0")
    for step in (2, 4, 6, 8):
        checkpoint(record.folder, step)
    made = record.folder / "checkpoints"
    for name in ("checkpoint-4/adapter_model.safetensors", "checkpoint-6/optimizer.pt"):
        (made / name).write_bytes((made / name).read_bytes()[:-7])
    (made / "checkpoint-8" / "trainer_state.json").unlink()
    into = tmp_path / "mine"
    hub.take_sweep(str(tmp_path / "there"), into, None)
    assert [p.name for p in (into / "0" / "checkpoints").iterdir()] == ["checkpoint-2"]
    out = capsys.readouterr().out
    assert f"not copied: {made}/checkpoint-4 (adapter_model.safetensors is cut off)" in out
    assert f"not copied: {made}/checkpoint-6 (optimizer.pt is cut off)" in out
    assert f"not copied: {made}/checkpoint-8 (no trainer_state.json)" in out


def test_a_search_takes_its_database_if_it_is_whole(tmp_path: Path) -> None:
    record = left(tmp_path / "there" / "mine" / "0", "seed=0")
    database = record.folder.parent / "study.db"
    with closing(sqlite3.connect(database)) as made:
        made.execute("create table trials (number int)")
        made.executemany("insert into trials values (?)", [(n,) for n in range(5000)])
        made.commit()
    hub.take_sweep(str(tmp_path / "there"), tmp_path / "a" / "mine", None)
    assert (tmp_path / "a" / "mine" / "study.db").read_bytes() == database.read_bytes()
    database.write_bytes(database.read_bytes()[:-5000])
    with pytest.raises(RecordError) as caught:
        hub.take_sweep(str(tmp_path / "there"), tmp_path / "b" / "mine", None)
    assert "study.db is incomplete or damaged (" in str(caught.value)
    assert str(caught.value).endswith("synchronise it again, or leave resume_from out.")
    assert not list((tmp_path / "b" / "mine").glob("study*"))


def test_a_run_of_another_config_is_refused_with_the_keys_that_differ(
    mounted: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecordError) as caught:
        hub.take_sweep(str(mounted), tmp_path / "mine", wanted(3))
    assert str(caught.value) == (
        f"resume_from={mounted}: none of its 2 records has this config; the closest, 0, has "
        "seed=0 (here 3): give the same overrides, or leave resume_from out."
    )
    run = load(*QUICK, "seed=0", "lora.r=4", f"resume_from={mounted}")
    with pytest.raises(RecordError, match=r"the closest, 0, has lora.r=16 \(here 4\): give the"):
        hub.take_run(run, config.run_id(run), tmp_path / "mine" / "x", as_sibling=True)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere", "resume_from={}: there is no such folder (looked in "),
        ("empty", "resume_from={} contains no record (run.json): name the folder of a run, of a "
         "sweep or of several sweeps, such as the outputs folder of an earlier runtime, or leave "
         "it out."),
    ],
)  # fmt: skip
def test_a_source_that_holds_no_record_is_refused(
    tmp_path: Path, source: str, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = str(tmp_path / source)
    with pytest.raises(RecordError) as caught:
        hub.take_sweep(given, tmp_path / "mine", wanted(0))
    assert str(caught.value).startswith(sentence.format(given))


def test_a_search_is_not_taken_from_among_several_others(mounted: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        hub.take_sweep(str(mounted), tmp_path / "third", None)
    assert str(caught.value) == (
        f"resume_from={mounted} contains several sweeps (mine, other), but none named third: "
        "name the folder of one, or leave resume_from out."
    )


@pytest.mark.slow
def test_a_run_goes_on_from_a_mounted_folder_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("trainer.max_steps=6", "trainer.eval_steps=1",
            "trainer.select=best_validation", "trainer.learning_rate=0.1")  # fmt: skip
    there = tmp_path / "drive" / "outputs" / "single" / "a"
    with budget.ending(time.time() + 3600), pytest.raises(OutOfBudget):
        spend_at(there / "checkpoints" / "checkpoint-3" / "trainer_state.json")
        runs.run_one(load(*QUICK, *line), Job(there))
    shutil.move(tmp_path / "drive", tmp_path / "mounted")
    source = f"resume_from={tmp_path / 'mounted' / 'outputs'}"
    resumed = runs.run_one(load(*QUICK, *line, source), Job(tmp_path / "outputs/single/b")).record
    assert resumed.folder == tmp_path / "outputs/single/a"
    calm = runs.run_one(load(*QUICK, *line), Job(tmp_path / "calm" / "a")).record
    assert (resumed.scores, resumed.curve) == (calm.scores, calm.curve)
    assert resumed.plan["selected_step"] == calm.plan["selected_step"]


def spend_at(file: Path) -> None:
    import threading

    def watch() -> None:
        while not file.exists():
            time.sleep(0.01)
        budget.spend()

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.slow
def test_a_sweep_in_a_mounted_folder_is_taken_over_and_completed(cli: Cli, tmp_path: Path) -> None:
    first = cli("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=drive/mine")
    assert first.returncode == 0, first.stdout + first.stderr
    line = ("-m", *QUICK, "seed=0,1", "resume_from=drive", "hydra.sweep.dir=outputs/mine")
    again = cli(*line)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("finished before in") == 2
    there, here = (
        [r.scores for r in records.read_all(tmp_path / place / "mine")]
        for place in ("drive", "outputs")
    )
    assert there == here
    refused = cli("-m", *QUICK, "seed=5", "resume_from=drive", "hydra.sweep.dir=outputs/x")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: resume_from=drive: none of its 2 records has this")
    assert not any((tmp_path / "outputs" / "x").glob("*/run.json"))
