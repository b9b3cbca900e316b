"""Runs, sweeps and reports from Python are those of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import experiments as lx
from conftest import FEW_ROWS, ROOT, Cli
from experiments.errors import ConfigError, ExperimentError, RecordError

QUICK = (*FEW_ROWS, "trainer.max_steps=2", "trainer.eval_steps=2")


@pytest.fixture(autouse=True)
def its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))


def test_the_calls_are_there_after_a_bare_import_that_loads_nothing_heavy() -> None:
    code = (
        "import sys, experiments as lx; "
        "assert callable(lx.run) and callable(lx.sweep) and callable(lx.report); "
        "assert callable(lx.read_runs) and lx.config.compose(['seed=3']).seed == 3; "
        "print([name for name in ('torch', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_run_from_python_is_reused_by_the_command_and_the_other_way_round(
    cli: Cli, tmp_path: Path
) -> None:
    record = lx.run([*QUICK, "rank=r4"])
    assert record.overrides == [*QUICK, "lora.r=4"]
    assert record.status == "finished"
    assert record.config["lora"]["r"] == 4
    assert record.folder.parent.name == "single"
    assert "- rank=r4" in (record.folder / ".hydra" / "overrides.yaml").read_text()
    assert repr(record) == f"Record({record.run_id}, finished, {record.folder})"
    done = cli(*QUICK, "lora.r=4")
    assert f"finished before in {tmp_path / record.folder}" in done.stdout
    assert cli(*QUICK, "lora.r=8").returncode == 0
    assert len(list((tmp_path / "outputs" / "single").glob("*/run.json"))) == 2
    assert lx.run([*QUICK, "lora.r=8"]).config["lora"]["r"] == 8
    assert len(list((tmp_path / "outputs" / "single").glob("*/run.json"))) == 2
    mine = lx.run([*QUICK, "lora.r=4", "hydra.run.dir=mine"])
    assert mine.folder.name == "mine" and mine.run_id == record.run_id


@pytest.mark.slow
def test_a_sweep_returns_one_line_a_run_and_a_report_writes_its_tables(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    frame = lx.sweep([*QUICK, "lora.r=4,8", "trainer.learning_rate=1e-3"])
    assert "2 finished" in capfd.readouterr().out
    assert frame["lora.r"].tolist() == [4, 8]
    assert frame["trainer.learning_rate"].tolist() == [0.001, 0.001]
    assert frame["status"].tolist() == ["finished"] * 2
    assert (frame["loss/nll"] > 0).all() and (frame["seconds"] > 0).all()
    folder = Path(frame["folder"][0]).parent
    assert folder.name.startswith("grid_")
    again = lx.sweep(["trainer.learning_rate=1e-3", "lora.r=4,8", *QUICK])  # in another order
    assert again["run_id"].tolist() == frame["run_id"].tolist()
    assert "step " not in capfd.readouterr().out
    report = lx.report(folder)
    assert (report.folder / "README.md").is_file()
    assert "lora.r=8" in str(report) and repr(report) == str(report)
    assert lx.read_runs(report.folder)["run_id"].tolist() == frame["run_id"].tolist()


def test_mistakes_are_errors_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="sweeps=lora_rank describes many runs"):
        lx.run(["sweeps=lora_rank"])
    with pytest.raises(ConfigError, match=r"lora\.rank"):
        lx.run(["lora.rank=3"])
    with pytest.raises(ConfigError, match=r"lora\.r=0"):
        lx.run(["lora.r=0"])
    for word in ("hydra/launcher=joblib", "hydra.sweep.dir=x", "+hydra.job.chdir=true"):
        with pytest.raises(ConfigError, match="would not be used"):
            lx.run([word])
    for call in (lx.run, lx.sweep):
        for option in ("-m", "-cd", "--multirun"):
            with pytest.raises(ConfigError, match=f"{option} is an option of the command line"):
                call([option])
    with pytest.raises(ConfigError, match="seed=0,1"):
        lx.run(["seed=0,1"])
    with pytest.raises(RecordError, match="has no record of a run"):
        lx.read_runs("outputs/none")


@pytest.mark.slow
def test_a_sweep_with_an_illegal_run_raises_the_sentence_of_the_command() -> None:
    with pytest.raises(ExperimentError, match=r"(?s)1 of 2 jobs are illegal.*lora\.r=0"):
        lx.sweep([*QUICK, "lora.r=4,0"])
