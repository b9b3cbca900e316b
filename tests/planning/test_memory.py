"""Predicted memory against tensors followed by a hook, through the project's own training."""

import itertools
import json
from pathlib import Path

import pytest
import torch

from conftest import ROOT, SMOKE, Cli, load
from experiments.calibration import memory_cases, planning_measurements
from experiments.config.geometry import Geometry
from experiments.planning import activations, memory, parameters
from experiments.planning.live_tensors import LiveTensors

SMALL = Geometry("qwen3", 64, 192, 2, 4, 2, 16, 256, True, False, False, 512)


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPERIMENTS_ROOT", str(ROOT))


def test_the_hook_counts_a_storage_once_until_it_is_freed() -> None:
    kept = torch.zeros(1000)
    with LiveTensors([kept]) as live:
        assert live.live_bytes == 4000
        other = kept + 1
        view = other.view(10, 100)
        assert live.live_bytes == 8000
        del other, view
        assert (live.live_bytes, live.peak_bytes) == (4000, 8000)


# Each value once; the slow ones are all other combinations.
LAYERS = [
    *(("qwen3", lora, False) for lora in ("all_linear", "qv", "mlp", "none")),
    *(("qwen2", "all_linear", True), ("llama", "all_linear", False)),
]
ALL_LAYERS = itertools.product(
    ("qwen3", "qwen2", "llama"), ("all_linear", "qv", "mlp", "none"), (False, True)
)


@pytest.mark.parametrize(
    ("architecture", "lora", "padded"),
    [
        *LAYERS,
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ALL_LAYERS if one not in LAYERS),
    ],
)
def test_what_a_layer_keeps_is_what_is_alive_after_a_forward_pass(
    architecture: str, lora: str, padded: bool
) -> None:
    """Two models that differ by one layer: the difference is that layer's, to a thousandth."""
    kept = [alive_after_forward(architecture, lora, layers, padded) for layers in (2, 3)]
    run = load(f"lora={lora}", *([] if lora == "none" else ["lora.r=8"]))
    full = lora == "none"
    adapted = parameters.count(SMALL, run.lora).adapters
    work = activations.Pass(
        2,
        128,
        "fp32",
        frozenset(one.on.leaf for one in adapted),
        full=full,
        r=0 if full else 8,
        padded=padded,
    )
    shape = Geometry(**{**SMALL.__dict__, "architecture": architecture})
    assert kept[1] - kept[0] == pytest.approx(activations.layer(shape, work).all, rel=1e-3)


def alive_after_forward(architecture: str, lora: str, layers: int, padded: bool) -> int:
    """Return the bytes that live after a forward pass and did not before."""
    from experiments.models import adapters

    shape = Geometry(**{**SMALL.__dict__, "architecture": architecture, "layers": layers})
    run = load(f"lora={lora}", *([] if lora == "none" else ["lora.r=8"]))
    model = adapters.attach(
        run, planning_measurements.random_model(shape, torch.float32)
    ).model.train()
    ids = torch.ones(2, 128, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 100:] = 1 - int(padded)
    inner = model.model if lora == "none" else model.base_model.model.model
    known = [*model.parameters(), *model.buffers(), ids, mask]
    with LiveTensors(known) as live:
        before = live.live_bytes
        hidden = inner(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        after = live.live_bytes
    assert hidden.requires_grad
    return int(after - before)


@pytest.mark.slow
def test_predictions_of_today_are_within_a_tenth_of_all_that_was_ever_measured() -> None:
    [*files] = (ROOT / "outputs" / "reports" / "memory").glob("*.json")
    found = [
        one
        for f in files
        for one in planning_measurements.comparisons(json.loads(f.read_text("utf-8")))
    ]
    assert len(found) >= 12
    assert max(abs(one.error) for one in found) <= planning_measurements.TOLERANCE
    on_cpu = [one for one in found if one.measured.fullest_operation]
    assert max(abs(one.error) for one in on_cpu) <= memory.TENSOR_ERROR  # what plans say
    assert max(abs(one.resident_error) for one in on_cpu) <= memory.RESIDENT_ERROR
    assert all(o.trainable_parameters == o.measured.trainable_parameters for o in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [5, *(pytest.param(number, marks=pytest.mark.nightly) for number in (6, 12))]
)
def test_predicted_memory_is_within_a_tenth_of_measured(number: int) -> None:
    one = planning_measurements.compare(
        planning_measurements.measure(memory_cases.CASES[number]), "cpu"
    )
    assert abs(one.error) <= planning_measurements.TOLERANCE, str(one)
    assert one.trainable_parameters == one.measured.trainable_parameters


@pytest.mark.slow
def test_a_run_records_its_predicted_and_its_measured_memory(tmp_path: Path) -> None:
    from experiments import runs

    run = load(*SMOKE)
    record = runs.run_one(run, runs.Job(tmp_path / "run", find_siblings=False)).record
    # Resident memory that an earlier test freed is used again, so growth has no lower bound here.
    assert min(record.memory["train_predicted_bytes"], record.memory["train_peak_bytes"]) > 10**6
    assert record.memory["peak_rss_bytes"] > record.memory["train_peak_bytes"]


@pytest.mark.slow
def test_a_probe_prints_predicted_and_measured(cli: Cli) -> None:
    done = cli("plan", "plan.probe=true", "plan.longest_row_tokens=64", module=True)
    assert done.returncode == 0, done.stderr
    assert (
        "probe: 3 steps here took" in done.stdout
        and "TFLOPS as measured by the probe" in done.stdout
    )
