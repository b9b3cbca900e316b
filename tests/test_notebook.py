"""The notebook runs from its first cell to its last, as it is committed."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT, environment
from experiments.cli.main import main
from support.hub_server import TOKEN

NOTEBOOK = ROOT / "notebooks" / "t4_quickstart.ipynb"


def read() -> Any:
    text = NOTEBOOK.read_text(encoding="utf-8")
    return nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]


def test_the_notebook_is_valid_and_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert "hf_" not in NOTEBOOK.read_text(encoding="utf-8").lower().replace("hf_token", "")


def verbs(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(["--help"])
    return capsys.readouterr().out


def printed(cell: Any) -> str:
    return "".join(out.get("text", "") for out in cell.outputs)


@pytest.mark.slow
# nbclient's own event loop, and a kernel's connection file that others might read.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_cell_runs_with_the_embedded_model_and_the_table_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "project"
    left_out = shutil.ignore_patterns(".venv", ".git", "outputs", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=left_out)
    notebook = read()
    if "\n    plan " not in verbs(capsys):
        notebook.cells = [c for c in notebook.cells if "plan" not in c.metadata.get("tags", ())]
    for name, value in environment(
        MODEL="tiny", SMOKE="1", HOURS="1", EXPERIMENTS_ROOT=str(copy), HF_HUB_OFFLINE="1",
        HF_TOKEN=TOKEN,
        PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin", PYTHONPATH=str(copy / "src"),
        IPYTHONDIR=str(tmp_path / "ipython"), JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"),
    ).items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(copy)}}
    )
    client.execute()
    cells = {tag: c for c in notebook.cells for tag in c.metadata.get("tags", ())}
    table = printed(cells["table"])
    assert "lora=all_linear" in table and "lora=qv" in table and "2 finished" in table
    assert "calls exact" in table
    assert "the dashboard answers with 200" in printed(cells["dashboard"])
    assert len(cells["figures"].outputs) >= 1
    assert (copy / "outputs" / "reports" / "quickstart" / "README.md").is_file()
    text = json.dumps(notebook)
    assert TOKEN not in text and "write_token" not in text
