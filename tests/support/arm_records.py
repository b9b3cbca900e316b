"""Records of runs that never ran: arms whose true curve is known."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from experiments.analysis import arms
from experiments.analysis.arms import Cell, Design
from experiments.records import Record

IDENTITY = {
    "data_fingerprint": "d0",
    "base_sha256": "b0",
    "adapter_sha256": None,
    "precision": "fp32",
    "device_class": "cpu",
    "code_sha256": "c0",
    "libraries": {"torch": "2.13.0"},
}
BASE = {"validation/loss/nll": 1.5, "loss/nll": 1.6}
Curve = Callable[[float, int], float]
_numbers = itertools.count()


def parabola(optimum: float, floor: float = 0.1, curvature: float = 0.1, noise: float = 0.002,
             noise_seed: int = 0) -> Curve:  # fmt: skip
    """Return a curve in log10 of the rate; a seed shifts it and each cell has noise of its own."""

    def loss(rate: float, seed: int) -> float:
        shift = np.random.default_rng([noise_seed, seed]).normal(0, 0.01)
        at = [noise_seed, seed, round(rate * 1e9)]
        own = np.random.default_rng(at).normal(0, noise)
        return float(floor + curvature * math.log10(rate / optimum) ** 2 + shift + own)

    return loss


def record(
    rate: float,
    seed: int,
    loss: float | None,
    overrides: Iterable[str] = ("lora=all_linear",),
    **changes: Any,
) -> Record:
    """Return a finished record, or for None that of a run whose loss was not finite."""
    number = next(_numbers)
    config: dict[str, Any] = {
        "model": {"label": "tiny"}, "data": {"label": "mixed"}, "eval": {}, "seed": seed,
        "lora": {"method": "lora", "chosen": sorted(overrides), "r": 16,
                 "init_lora_weights": "default"},
        "trainer": {"learning_rate": rate, "lr_scheduler_type": "constant", "warmup_steps": 0.0,
                    "weight_decay": 0.0, "max_grad_norm": 1e9, "batch_size": 8},
    }  # fmt: skip
    tuned = {} if loss is None else {"validation/loss/nll": loss, "loss/nll": loss + 0.02}
    found = Record(
        run_id=f"{hash((rate, seed, tuple(overrides))) & 0xFFFFFFFFFFFF:012x}",
        status="failed" if loss is None else "finished",
        job=number,
        started_at=f"2026-01-01T00:00:{number:06d}",
        overrides=[*overrides, f"seed={seed}", f"trainer.learning_rate={rate}"],
        config=config,
        identity=dict(IDENTITY),
        scores={"base": dict(BASE), "tuned": tuned} if tuned else {},
        error={"type": "TrainingError", "step": 3} if loss is None else None,
        provenance={"git_dirty": False, "git_commit": "a" * 40},
        adapter={"trainable_parameters": 1000},
        plan={"steps": 50},
    )
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def tuned_records(
    curve: Curve, design: Design, overrides: Iterable[str] = ("lora=all_linear",),
    diverges_from: float = math.inf, **changes: Any,
) -> list[Record]:  # fmt: skip
    """Make the runs that the planner asks for until it asks for no more."""
    made: list[Record] = []
    for _ in range(100):
        asked = arms.next_cells(one_arm(made), design)
        if not asked.cells:
            return made
        made += [run(cell, curve, overrides, diverges_from, **changes) for cell in asked.cells]
    raise AssertionError("the planner does not come to an end")


def with_checked_fit(
    made: list[Record], curve: Curve, overrides: Iterable[str] = ("lora=all_linear",)
) -> list[Record]:
    """Add a second seed at the rates half a decade from the best, which checks the fit."""
    arm = one_arm(made)
    best = arms.tune(arm).best if arm is not None else None
    if arm is None or best is None:
        return made
    outer = [r for r in arm.rates if len(arm.at(r)) == 1 and max(r / best, best / r) < 3.3]
    return [*made, *(run(Cell(rate, 43), curve, overrides) for rate in outer)]


def run(cell: Cell, curve: Curve, overrides: Iterable[str], diverges_from: float = math.inf,
        **changes: Any) -> Record:  # fmt: skip
    loss = None if cell.rate >= diverges_from else curve(cell.rate, cell.seed)
    return record(cell.rate, cell.seed, loss, overrides, **changes)


def one_arm(made: list[Record]) -> arms.Arm | None:
    found = arms.read(made)
    assert len(found) <= 1
    return found[0] if found else None
