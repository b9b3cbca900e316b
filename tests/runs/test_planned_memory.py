"""What a run does with the plan of its memory: activations are kept only where they fit."""

from pathlib import Path

import pytest

from conftest import FEW_ROWS, load
from experiments import runs
from experiments.records import Record
from experiments.runs import Job


def trained(folder: Path, *overrides: str) -> Record:
    return runs.run_one(load(*FEW_ROWS, "hardware=cpu", *overrides), Job(folder)).record


@pytest.mark.slow
def test_activations_are_recomputed_where_the_loaded_rows_need_most_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    roomy = trained(tmp_path / "a" / "0")
    assert roomy.hardware["gradient_checkpointing"] is False
    small = trained(tmp_path / "b" / "0", "hardware.memory_gib=0.01")
    assert small.hardware["gradient_checkpointing"] is True
    assert "of the memory is needed" in small.hardware["reasons"]["gradient_checkpointing"]
    assert "activations are recomputed" in capsys.readouterr().out
    assert small.memory["train_predicted_bytes"] < roomy.memory["train_predicted_bytes"]
    told = trained(
        tmp_path / "c" / "0", "hardware.memory_gib=0.01", "trainer.gradient_checkpointing=false"
    )
    assert told.hardware["gradient_checkpointing"] is False
    assert small.scores["tuned"] == pytest.approx(told.scores["tuned"], rel=1e-4)
