"""What of a finished run is used again depends on what changed since."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, SMOKE, environment, load
from experiments import config, models, records
from experiments.config import chat_templates
from experiments.records import Record, provenance
from experiments.runs import fingerprint
from support import commands

WORDS = (
    'DIRECTION = {"count": "minimize"}\n'
    "def score(item):\n"
    '    return {"count": float(len(item.text.split()))}\n'
)
LINE = (*SMOKE, "trainer.max_steps=2", "trainer.keep=adapter", "hydra.run.dir=out/run")


def run(folder: Path, source: Path, *overrides: str) -> str:
    done = commands.run(
        [sys.executable, str(ROOT / "train.py"), *LINE, *overrides],
        cwd=folder, env=environment(PYTHONPATH=str(source)), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the sources in `src` and a run of them in `out/run`."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conf", "sweeps"):  # a checkout has them beside its sources
        (folder / name).symlink_to(ROOT / name)
    run(folder, folder / "src")
    return folder


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Record:
    """Return the record of that run, copied with the sources to the folder of the test."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    return records.read(tmp_path / "out/run/run.json")


def test_metrics_are_no_part_of_a_runs_id_but_whether_answers_are_scored_is() -> None:
    before = config.run_id(load())
    assert config.run_id(load("eval.metrics=[calls]")) == before
    assert config.run_id(load("eval.metrics=[]")) != before


@pytest.mark.slow
def test_an_added_metric_is_computed_from_the_answers_of_a_finished_run(
    tmp_path: Path, finished: Record
) -> None:
    source, first = tmp_path / "src", finished
    assert "finished before" in run(tmp_path, source)
    (source / "experiments" / "evaluation" / "metrics" / "words.py").write_text(WORDS)
    assert "scored again" not in run(tmp_path, source)
    asked = json.dumps([*first.config["eval"]["metrics"], "words"]).replace('"', "")
    out = run(tmp_path, source, f"eval.metrics={asked}")
    assert "scored again from its kept answers" in out
    assert "\nstep " not in out
    assert "device =" not in out
    record = records.read(tmp_path / "out/run/run.json")
    items = [i for i in records.items(record) if i["model"] == "tuned" and "text" in i]
    mean = sum(len(i["text"].split()) for i in items) / len(items)
    assert record.scores["tuned"]["words/count"] == pytest.approx(mean)
    assert {k: v for k, v in record.scores["tuned"].items() if "words/" not in k} == (
        first.scores["tuned"]
    )
    restraint = source / "experiments" / "evaluation" / "metrics" / "restraint.py"
    restraint.write_text(restraint.read_text().replace('"overcall": float(called)',
                                                       '"overcall": 2.0'))  # fmt: skip
    assert "scored again from its kept answers" in run(tmp_path, source)
    assert records.read(record.path).scores["tuned"]["restraint/overcall"] == 2.0


@pytest.mark.slow
def test_another_way_to_answer_scores_the_kept_adapter_and_trains_nothing(
    tmp_path: Path, finished: Record
) -> None:
    source, first = tmp_path / "src", finished
    generation = source / "experiments" / "evaluation" / "batched_generation.py"
    generation.write_text(generation.read_text().replace("CHUNK_ROWS = 32", "CHUNK_ROWS = 16"))
    out = run(tmp_path, source)
    assert "its adapter is scored again beside it" in out
    assert "\nstep " not in out
    again = records.read(tmp_path / "out/run_2/run.json")
    assert again.status == "finished"
    assert again.scores["tuned"] == pytest.approx(first.scores["tuned"])
    assert again.provenance["trained_in"] == "run"
    shutil.rmtree(tmp_path / "out/run/adapter")
    shutil.rmtree(tmp_path / "out/run_2")
    out = run(tmp_path, source)
    assert "no adapter was kept that could be scored" in " ".join(out.split())
    assert "\nstep " in out


@pytest.mark.slow
def test_a_record_of_an_older_version_is_said_to_be_one(tmp_path: Path, finished: Record) -> None:
    for key in provenance.KEYS:
        del finished.identity[key]
    finished.identity["code_sha256"] = "c0de"
    records.write(finished)
    out = " ".join(run(tmp_path, ROOT / "src").split())
    assert "made by an older version of the code: run again beside it" in out
    assert records.read(tmp_path / "out/run_2/run.json").status == "finished"


def test_an_edited_template_of_the_package_is_noticed_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(chat_templates.FOLDER, tmp_path / "chat_templates"))
    monkeypatch.setattr(chat_templates, "FOLDER", copied)
    run = load("model.chat_template=smollm2")
    before = fingerprint.inputs(run)
    (copied / "gemma3.jinja").write_text("another model's")
    assert fingerprint.inputs(run) == before
    with (copied / "smollm2.jinja").open("a", encoding="utf-8") as file:
        file.write("{# edited #}")
    assert fingerprint.inputs(run) != before


WATCHED = """
import atexit, runpy, sys

opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))

def report():
    heavy = ("torch", "transformers", "tokenizers", "peft", "trl", "datasets")
    print("imported:", [name for name in heavy if name in sys.modules])
    print("weights read:", [path for path in opened if path.endswith(".safetensors")])

atexit.register(report)
sys.argv[0] = {program!r}
runpy.run_path({program!r}, run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("finished")
def test_a_finished_run_is_answered_without_torch_weights_or_tokenizing(tmp_path: Path) -> None:
    watched = WATCHED.format(program=str(ROOT / "train.py"))
    done = subprocess.run(
        [sys.executable, "-c", watched, *LINE], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "finished before" in done.stdout
    assert "\nimported: []\n" in done.stdout
    assert "\nweights read: []\n" in done.stdout


def test_changed_weights_of_a_model_are_noticed_whatever_their_size(tmp_path: Path) -> None:
    model = Path(shutil.copytree(models.BASES / "tiny", tmp_path / "model"))
    asked = load(f"model.path={model}", "model.embedded=null")
    weights = next(model.glob("*.safetensors"))
    old = time.time() - 3600
    for file in model.iterdir():
        os.utime(file, (old, old))
    before = fingerprint.inputs(asked)
    assert fingerprint.inputs(asked) == before
    with weights.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    os.utime(weights, (old, old))
    assert fingerprint.inputs(asked) != before
