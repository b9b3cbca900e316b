"""A check of a GPU in its small form on a CPU: each step is real, recorded, and done only once."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, environment
from experiments.calibration.gpu_check import check_runner
from experiments.calibration.gpu_check.check_setting import CheckSetting
from experiments.calibration.gpu_check.check_steps import STEPS
from experiments.errors import ConfigError
from experiments.planning import device

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Checked:
    """A finished small check."""

    setting: CheckSetting
    reports: Path

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.setting.folder / "state.json").read_text("utf-8"))
        return found

    def outcomes(self) -> dict[str, str]:
        return {name: entry["status"] for name, entry in self.state["steps"].items()}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    folder = tmp_path_factory.mktemp("check")
    setting = CheckSetting(folder / "work", small=True)
    # In a process of its own, as for a user: the step that caps memory needs one without a past.
    words = ("--small", "--work", str(setting.folder), "--out", str(folder / "reports"))
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "gpu-check", *words],
        env=environment(EXPERIMENTS_ROOT=str(ROOT)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Checked(setting, folder / "reports")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))


def test_every_step_is_done_or_named_as_impossible_here(checked: Checked) -> None:
    found = checked.outcomes()
    assert list(found) == [step.name for step in STEPS]
    impossible = {"train_fp16"} if not device.has_gpu() else set()
    assert {name for name, status in found.items() if status == "not applicable"} == impossible
    assert {status for name, status in found.items() if name not in impossible} == {"done"}


def test_the_page_and_the_results_say_the_same(checked: Checked) -> None:
    [page] = checked.reports.glob("*_small.md")
    [results] = checked.reports.glob("*_small.json")
    assert json.loads(results.read_text("utf-8")) == checked.state
    text = page.read_text("utf-8")
    for words in (
        *("| train_full | fp32 |", "| answers_continuous |", "Stock TRL (`loss_type=nll`)"),
        *("resumed from step 2 and ended as `finished`", "Memory ran out with 8 rows per pass"),
        *("Two runs at once", "its speeds mean nothing"),
    ):
        assert words in text
    assert str(checked.setting.folder) not in text + results.read_text("utf-8")


def test_predicted_tensors_are_those_that_are_measured(checked: Checked) -> None:
    steps = checked.state["steps"]
    trained = [entry["result"] for name, entry in steps.items() if name.startswith("train_")
               and "predicted_bytes" in entry.get("result", {})]  # fmt: skip
    assert len(trained) >= 5
    for result in trained:
        assert result["predicted_bytes"] == pytest.approx(result["measured_bytes"], rel=0.05)


def test_a_finished_check_is_not_done_again_and_one_out_of_time_goes_on(
    checked: Checked, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checked.state
    check_runner.check(checked.setting, checked.reports)
    assert checked.state == before
    del before["steps"]["answers"]
    (checked.setting.folder / "state.json").write_text(json.dumps(before))
    check_runner.check(checked.setting, checked.reports, limit_seconds=0)
    assert checked.outcomes()["answers"] == "left"
    assert "the same command goes on" in capsys.readouterr().out
    check_runner.check(checked.setting, checked.reports)
    assert checked.outcomes()["answers"] == "done"


def test_a_step_that_fails_or_takes_too_long_is_recorded_and_the_next_one_runs(
    checked: Checked, tmp_path: Path
) -> None:
    setting = dataclasses.replace(checked.setting, folder=tmp_path / "work")
    reports = tmp_path / "reports"
    by_name = {step.name: step for step in STEPS}
    slow = dataclasses.replace(by_name["base"], seconds=0)
    steps = [by_name["facts"], slow, by_name["answers"]]
    check_runner.check(setting, reports, steps=steps)
    found = json.loads((setting.folder / "state.json").read_text("utf-8"))["steps"]
    assert found["base"]["error"].startswith("stopped after ")
    assert found["answers"]["status"] == "failed"
    assert found["answers"]["error"].startswith("ConfigError: model.path=")  # there is no base
    [page] = reports.glob("*.md")
    assert "failed: stopped after" in page.read_text("utf-8")
    check_runner.check(setting, reports, steps=[by_name[step.name] for step in steps])
    again = json.loads((setting.folder / "state.json").read_text("utf-8"))["steps"]
    assert {entry["status"] for entry in again.values()} == {"done"}


@pytest.mark.skipif(device.has_gpu(), reason="this machine has a GPU")
def test_a_full_check_without_a_gpu_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no NVIDIA driver.*use --small to run every step"):
        check_runner.check(CheckSetting(tmp_path / "work"), tmp_path / "reports")
    assert not (tmp_path / "work").exists()
