"""What `make gpu-check` does, asserted: run by `make test-gpu` on a machine with a CUDA device."""

import json
from typing import Any

import pytest

from conftest import ROOT
from experiments.calibration import planning_measurements
from experiments.calibration.gpu_check import check_runner
from experiments.calibration.gpu_check.check_setting import CheckSetting
from experiments.calibration.gpu_check.check_steps import STEPS

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
SIZES = ("small", "full")


@pytest.fixture(scope="module", params=SIZES)
def steps(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The outcomes of a check with the tiny base, and of one with Qwen3-0.6B's shape."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPERIMENTS_ROOT", str(ROOT))
        page = check_runner.check(
            CheckSetting(folder, request.param == "small"), folder / "reports"
        )
    found: dict[str, Any] = json.loads(page.with_suffix(".json").read_text("utf-8"))["steps"]
    return found


def test_every_step_ends_within_its_time_and_none_fails(steps: dict[str, Any]) -> None:
    assert list(steps) == [step.name for step in STEPS]
    for name, entry in steps.items():
        assert entry["status"] in ("done", "not applicable"), f"{name}: {entry}"


def test_predicted_tensors_are_within_a_tenth_of_those_measured(steps: dict[str, Any]) -> None:
    trained = {
        name: entry["result"]
        for name, entry in steps.items()
        if "predicted_bytes" in entry.get("result", {})
    }
    assert trained
    errors = {n: r["predicted_bytes"] / r["measured_bytes"] - 1 for n, r in trained.items()}
    assert max(map(abs, errors.values())) <= planning_measurements.TOLERANCE, errors


def test_a_killed_run_repeats_its_step_and_memory_that_ran_out_is_recovered(
    steps: dict[str, Any],
) -> None:
    killed, full = steps["kill_and_resume"]["result"], steps["out_of_memory"]["result"]
    assert killed["status"] == "finished"
    assert killed["loss_after"] == pytest.approx(killed["loss_before"], rel=1e-3)
    assert full["rows_afterwards"] < full["rows_per_pass"]


def test_a_card_without_bf16_says_so(steps: dict[str, Any]) -> None:
    capable = steps["facts"]["result"]["compute_capability"] >= 8
    assert (steps["train_bf16"]["status"] == "done") is capable
    assert steps["train_fp16"]["status"] == "done"
