"""BFCL's questions in an installed package, which is found but never imported."""

import shutil
import sys
from pathlib import Path

import pytest

from conftest import load
from experiments.data import benchmark_files, benchmark_rows
from experiments.errors import DataError
from experiments.runs import checks

SHOULD_NOT_RUN = "raise RuntimeError('the package was imported')\n"


def installed(site: Path, questions: Path | None, version: str = "2026.3.23") -> Path:
    """Make a folder in which pip has installed `bfcl-eval`; return the folder of its data."""
    package, about = site / "bfcl_eval", site / f"bfcl_eval-{version}.dist-info"
    package.mkdir(parents=True)
    about.mkdir()
    (package / "__init__.py").write_text(SHOULD_NOT_RUN)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bfcl_eval\nVersion: {version}\n")
    if questions is not None:
        shutil.copytree(questions, package / "data")
    return package / "data"


def other_questions(tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    (folder / "possible_answer").mkdir(parents=True)
    (folder / "BFCL_v4_simple_python.json").write_text('{"id": "simple_python_0"}\n')
    (folder / "possible_answer" / "BFCL_v4_simple_python.json").write_text('{"id": "x"}\n')
    return folder


def test_questions_are_read_from_an_installed_package(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", shared / "bfcl")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    benchmark = benchmark_rows.read("bfcl_simple_python", None, dots=False)
    assert len(benchmark.rows) == 400
    assert benchmark.package == "bfcl-eval 2026.3.23"
    assert set(benchmark.files) == {
        "BFCL_v4_simple_python.json",
        "possible_answer/BFCL_v4_simple_python.json",
    }
    of_path = benchmark_rows.read("bfcl_simple_python", str(shared / "bfcl"), dots=False)
    assert benchmark.rows == of_path.rows and of_path.package is None
    assert "bfcl_eval" not in sys.modules


@pytest.mark.parametrize("category", ["simple_python", "irrelevance", "live_multiple"])
def test_another_version_with_the_same_files_is_accepted(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, category: str
) -> None:
    installed(tmp_path / "site", shared / "bfcl", version="2026.1.17")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert benchmark_files.find(f"bfcl_{category}", None).package == "bfcl-eval 2026.1.17"


def test_other_questions_are_refused_with_the_known_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installed(tmp_path / "site", other_questions(tmp_path), version="2025.6.8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DataError) as caught:
        benchmark_files.find("bfcl_simple_python", None)
    message = str(caught.value)
    assert "the installed bfcl-eval 2025.6.8 contains other questions than version 2026.3.23" in (
        message
    )
    assert "pip install --no-deps bfcl-eval==2026.3.23" in message
    assert f"or set eval.path={folder} to evaluate on these files." in message


def test_other_gold_answers_to_the_same_questions_are_refused(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installed(tmp_path / "site", shared / "bfcl")
    answers = folder / "possible_answer" / "BFCL_v4_simple_python.json"
    answers.chmod(0o644)
    answers.write_text('{"id": "simple_python_0", "ground_truth": []}\n')
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DataError, match=r"contains other gold answers than version 2026\.3\.23"):
        benchmark_files.find("bfcl_simple_python", None)


def test_a_package_without_its_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", None)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DataError, match=r"2026\.3\.23 is installed without its questions"):
        benchmark_files.find("bfcl_irrelevance", None)


def test_a_missing_package_is_named_with_its_command_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = [place for place in sys.path if not list(Path(place).glob("bfcl_eval-*"))]
    monkeypatch.setattr(sys, "path", without)
    run = load("eval=bfcl_sample")
    assert run.eval.benchmark_rows == {"bfcl_simple_python": 100, "bfcl_irrelevance": 60}
    with pytest.raises(DataError) as caught:
        checks.check(run)
    assert str(caught.value) == (
        "eval.benchmarks=bfcl_simple_python: the package bfcl-eval, which contains its questions, "
        "is not installed: run pip install --no-deps bfcl-eval==2026.3.23, or set eval.path to a "
        "folder that contains them."
    )
