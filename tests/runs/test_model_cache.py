"""What is kept between the runs of a process changes no number of any of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import FEW_ROWS, SMOKE, environment, load
from experiments import models, runs
from experiments.records import Record
from experiments.runs import Job, model_cache


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    model_cache.forget()
    yield
    model_cache.forget()


def make(folder: Path, *overrides: str, number: int | None = None) -> Record:
    run = load(*FEW_ROWS, "eval.base=true", "hardware=cpu", *overrides)
    return runs.run_one(run, Job(folder, number=number)).record


def numbers(record: Record) -> dict[str, Any]:
    return {
        "scores": record.scores,
        "curve": record.curve,
        "identity": record.identity,
        "adapter": record.adapter,
    }


@pytest.mark.slow
def test_a_run_after_others_in_one_process_has_the_numbers_of_a_solo_run(tmp_path: Path) -> None:
    kinds = [["lora=dora"], ["lora=none"],
             ["lora=qv", "lora.lora_dropout=0.1", "trainer.gradient_checkpointing=true"],
             ["data.seed=3"], []]  # fmt: skip
    after = [make(tmp_path / "s" / str(n), *k, number=n) for n, k in enumerate(kinds)]
    for n, kind in enumerate(kinds):
        alone = make(tmp_path / f"alone_{n}" / "0", *kind)
        assert numbers(after[n]) == numbers(alone), kind


@pytest.mark.slow
def test_loading_and_tokenising_are_paid_once(tmp_path: Path) -> None:
    run = load(*SMOKE, "hardware=cpu")
    precision = models.choose_precision(run)
    base, rows = model_cache.load(run, precision, keep=True)
    again, same_rows = model_cache.load(run, precision, keep=True)
    assert same_rows is rows
    assert again.model is not base.model
    mine, theirs = base.model.parameters(), again.model.parameters()
    assert all(a is b for a, b in zip(mine, theirs, strict=True))


@pytest.mark.slow
def test_a_base_that_a_run_changed_is_loaded_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "s" / "0", "lora.init_lora_weights=pissa", "eval.base=false", number=0)
    second = make(tmp_path / "s" / "1", "eval.base=false", number=1)
    assert "the previous run changed the base model's weights: they are loaded again" in (
        capsys.readouterr().out
    )
    assert numbers(second) == numbers(make(tmp_path / "t" / "1", "eval.base=false"))


def test_the_checksum_sees_one_changed_weight() -> None:
    import torch

    model = torch.nn.Linear(1000, 50)
    before = model_cache.checksum(model)
    with torch.no_grad():
        model.weight[7, 3] += 1e-4
    assert model_cache.checksum(model) != before


@pytest.mark.slow
def test_rows_that_change_on_disk_between_two_runs_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    file = [s for s in SMOKE if not s.startswith("data.")]
    line = [*file, "data=jsonl", f"data.path={path}", "data.test_share=0.2", "hardware=cpu"]
    rows = [{"prompt": f"say {i}", "completion": f"{i} it is"} for i in range(24)]
    prints = []
    for word in ("one", "two"):
        rows[3]["completion"] = word
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        run = load(*line)
        prints.append(model_cache.load(run, models.choose_precision(run), keep=True)[1].fingerprint)
    assert prints[0] != prints[1]


@pytest.mark.slow
def test_rows_are_read_again_when_a_benchmark_is_named_or_its_file_changes(tmp_path: Path) -> None:
    place = tmp_path / "BFCL_v4_live_relevance.json"
    tool = {"name": "f", "description": "", "parameters": {"type": "dict", "properties": {}}}
    question = {"question": [[{"role": "user", "content": "Sing"}]], "function": [tool]}
    named = ("eval.benchmarks=[bfcl_live_relevance]", f"eval.path={place}")
    fingerprints = []
    for asked in ([], [1], [1, 2]):
        lines = [json.dumps({"id": f"live_relevance_{n}-0-0", **question}) for n in asked]
        place.write_text("\n".join(lines), encoding="utf-8")
        run = load(*SMOKE, "hardware=cpu", *(named if asked else ()))
        _, rows = model_cache.load(run, models.choose_precision(run), keep=True)
        assert len(rows.splits.get("bfcl_live_relevance", [])) == len(asked)
        fingerprints.append(rows.fingerprint)
    assert len(set(fingerprints)) == 3


PAUSED = """
import gc
from experiments.runs import libraries

try:
    with libraries.imported_once():
        assert not gc.isenabled()
        raise OSError
except OSError:
    print("failed", gc.isenabled(), gc.get_freeze_count())
for _ in range(2):
    with libraries.imported_once():
        import torch
    print("imported", gc.isenabled(), gc.get_freeze_count())
"""


@pytest.mark.slow
def test_libraries_are_imported_without_the_collector_and_models_are_left_to_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAUSED],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    failed, first, second = (line.split() for line in done.stdout.splitlines())
    assert failed == ["failed", "True", "0"]
    assert first[1] == "True" and int(first[2]) > 10_000
    assert second == first
