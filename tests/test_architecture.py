"""Rules of the house that a machine can hold."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from experiments.config import RunConfig

SOURCE = ROOT / "src" / "experiments"
FLOOR = {
    "errors": 0,
    "out_of_memory": 0,
    "disk": 1,
    "processes": 0,
    "toolworld_vocabulary": 0,
    "toolworld": 2.5,
    "progress": 1,
    "token_loss": 1,
    "model_loss": 2,
    "config": 2,
    "answers": 2,
    "schemas": 2,
    "token_classes": 2,
    "bfcl": 2,
    "plans": 2,
    "statistics": 2,
    "budget": 2,
    "whole": 2,
    "provenance": 2,
    "records": 3,
    "tracking": 3,
    "data": 3,
    "models": 3,
    "adapters": 3,
    "metrics": 3,
    "spectra": 3,
    "study": 3,
    "arms": 4,
    "frozen": 4,
    "handover": 4,
    "plan_scoring": 4,
    "dashboard": 4,
    "training": 4,
    "evaluation": 4,
    "scoring": 4,
    "planning": 5,
    "report": 5,
    "scoring_verb": 5,
    "sweeps": 5,
    "explain": 6,
    "claims": 6,
    "runs": 6,
    "launching": 7,
    "capacity": 6,
    "mechanisms": 7,
    "verifying": 7,
    "pretraining_vocabulary": 5,
    "pretraining_text": 6,
    "pretrain": 7,
    "__main__": 8,
}


def owner(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("experiments"):
            names |= set(
                (node.module or "").split(".")[1:2] or [alias.name for alias in node.names]
            )
    return names


def test_every_module_stands_on_a_floor() -> None:
    assert {owner(path) for path in SOURCE.rglob("*.py")} - {"__init__"} == set(FLOOR)


def test_imports_point_down() -> None:
    for path in SOURCE.rglob("*.py"):
        for name in imported(path):
            here = owner(path)
            if name not in (here, "__init__"):
                assert FLOOR[name] < FLOOR[here], f"{here} imports {name}"


@pytest.mark.parametrize(
    "module",
    [
        *("config", "records", "toolworld", "statistics", "report", "arms", "arms.table", "claims"),
        *("bfcl", "bfcl.export", "scoring", "plans", "plan_scoring"),
        *("tracking", "dashboard", "explain", "explain.showing", "verifying"),
        *("frozen", "study", "study.reporting", "sweeps.status", "sweeps.plan"),
        *("launching.jobs", "launching.dispatch", "launching.processes", "launching.here"),
        *("launching.slurm", "launching.cluster", "processes", "handover", "budget"),
        *("planning.estimate", "planning.tables"),
    ],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = (
        f"import experiments.{module}, sys; "
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_top_level_config_keys_are_a_decision() -> None:
    assert [f.name for f in dataclasses.fields(RunConfig)] == [
        *("model", "data", "lora", "trainer", "eval", "tracker", "hardware", "budget", "hub"),
        *("plan", "seed", "name", "resume", "resume_from", "rerun", "retry_oom", "sweeps"),
        "resolved_from",
    ]


def test_no_catch_all_modules() -> None:
    names = {path.stem for path in (ROOT / "src").rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}


def test_train_py_stays_a_page() -> None:
    assert len((ROOT / "train.py").read_text(encoding="utf-8").splitlines()) <= 40
