"""Runs are compared only where they were scored on the same rows, and the reason is said."""

from pathlib import Path
from typing import Any

import pytest

from experiments import records, reports
from experiments.analysis import arms
from experiments.analysis.arms import Design
from experiments.records import Record
from experiments.sweeps import status
from support.arm_records import parabola, record, tuned_records

SEEDS = (11, 12, 13, 14, 15)


def asked(test: str = "7e57", rows: int = 540, validation: str = "0a11") -> dict[str, Any]:
    return {
        "validation": {"rows": 90, "sha256": validation},
        "test": {"rows": rows, "sha256": test},
    }


def made(name: str, exact: float, rows: dict[str, Any] | None, **changes: Any) -> list[Record]:
    """Return an arm of two seeds that was scored on some rows."""
    found = [record(1e-3, seed, 0.3, overrides=[f"data.weights.mcp={name}"]) for seed in (0, 1)]
    for one in found:
        one.run_id = f"{name}-{one.config['seed']}"
        one.config["data"] = {"label": "mixed", "weights": {"mcp": name}}
        one.identity = one.identity | {"data_fingerprint": name}
        one.started_at = f"2026-01-01T00:00:0{one.config['seed']}+00:00"
        one.scores["tuned"] |= {"calls/exact": exact}
        one.data = {} if rows is None else {"evaluation_rows": rows}
        one.objective = {"name": "validation/loss/nll", "direction": "minimize", "value": 1 - exact}
        for key, value in changes.items():
            setattr(one, key, value)
    return found


def written(folder: Path, found: list[Record]) -> Path:
    for number, one in enumerate(found):
        one.folder, one.job = folder / str(number), number
        records.write(one)
    return folder


def test_arms_of_other_training_rows_and_the_same_test_rows_are_compared(tmp_path: Path) -> None:
    folder = written(tmp_path, [*made("0", 0.5, asked()), *made("1", 0.7, asked())])
    text = reports.summarise(folder)
    assert "+0.200" in text and "other rows" not in text and "No difference" not in text
    assert status.read(folder).best is not None


def test_arms_of_other_test_rows_have_no_difference_and_the_reason_is_said(tmp_path: Path) -> None:
    found = [*made("0", 0.5, asked()), *made("1", 0.7, asked(test="07e4", rows=180))]
    text = " ".join(reports.summarise(written(tmp_path, found)).split())
    assert "other rows" in text and "+0.200" not in text
    assert (
        "No difference from data.weights.mcp=0 is shown for data.weights.mcp=1: the rows of the "
        "test split differ (180 rows with hash 07e4; 540 rows with hash 7e57)" in text
    )
    assert status.read(tmp_path).best is not None  # by validation, whose rows are the same


def test_no_run_is_the_best_one_where_the_validation_rows_differ(tmp_path: Path) -> None:
    found = [*made("0", 0.5, asked()), *made("1", 0.7, asked(validation="9a11"))]
    now = status.read(written(tmp_path, found))
    assert now.best is None and "best so far" not in str(now)
    assert now.notes[-1].startswith("no run is the best one: the rows of the validation split")


def test_arms_at_their_best_rates_have_no_verdict_on_other_rows() -> None:
    design = Design(-2, 2, SEEDS, 12)
    tuned = []
    for name, rows in (("a", asked()), ("b", asked(test="07e4"))):
        own = tuned_records(parabola(1e-3, noise_seed=ord(name)), design, [f"data={name}"])
        for one in own:
            one.config["data"] = {"label": name}
            one.data = {"evaluation_rows": rows}
        tuned.append(arms.tune(arms.read(own)[0]))
    both = arms.contrast(tuned[0], tuned[1], 0.05, may_differ=arms.intended_differences(*tuned))
    assert both.finding == "unresolved"
    assert [one.code for one in both.reasons if one.blocks] == ["other_rows"]
    validation = arms.contrast(
        tuned[0], tuned[1], 0.05, "validation/loss/nll", arms.intended_differences(*tuned)
    )
    assert "other_rows" not in {one.code for one in validation.reasons}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"train_rows": 80}, True),
        ({"fraction": 0.1}, True),
        ({"system_prompt": "drop"}, True),
        ({"weights": {"mcp": 3}}, False),  # an earlier version drew test rows by them
        ({"test_rows": 90}, False),
        ({"seed": 2}, False),
    ],
)
def test_records_of_an_earlier_version_are_told_apart_by_what_they_hold(
    changed: dict[str, Any], same: bool
) -> None:
    [one, _], [other, _] = made("0", 0.5, None), made("1", 0.5, None)
    one.config["data"] = {"weights": {"mcp": 1}, "test_rows": 540, "seed": 1}
    other.config["data"] = one.config["data"] | changed
    reason = arms.other_rows([one, other], "calls/exact")
    assert (reason is None) == same
    assert reason is None or "earlier version do not list the evaluated rows" in reason.text
    other.identity = one.identity
    assert arms.other_rows([one, other], "calls/exact") is None
