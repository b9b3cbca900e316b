"""An independent program finds the committed verdicts again, and finds one that was altered."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

SCRIPT = Path(__file__).with_name("recompute_verdicts.py")
REPORTS = ROOT / "outputs" / "reports"


def recompute(reports: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-S", str(SCRIPT), str(reports)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.returncode, done.stdout + done.stderr


def test_the_program_imports_nothing_of_the_project() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert outside == {"numpy", "scipy"}


@pytest.mark.slow
def test_every_committed_verdict_is_found_again() -> None:
    assert recompute(REPORTS) == (0, "all committed verdicts were recomputed\n")


@pytest.mark.slow
def test_an_altered_estimate_and_an_altered_word_are_found(tmp_path: Path) -> None:
    for name in ("measured", "lora_without_regret"):
        (tmp_path / name).symlink_to(REPORTS / name)
    (tmp_path / "claims").mkdir()
    tree = json.loads((REPORTS / "claims" / "claims.json").read_text(encoding="utf-8"))
    tree["claims"] = [v for v in tree["claims"] if v["claim"]["number"] in ("C1", "C5")]
    for verdict in tree["claims"]:
        if verdict["claim"]["number"] == "C1":
            verdict["word"], verdict["effect"]["estimate"] = "holds here", -0.0234
        else:
            verdict["word"] = "holds here"
    (tmp_path / "claims" / "claims.json").write_text(json.dumps(tree), encoding="utf-8")
    code, text = recompute(tmp_path)
    assert code == 1
    assert "C1: estimate -0.0261" in text
    assert "C1: holds here, but the interval allows unresolved" in text
    assert "C5: holds here, but the interval allows unresolved" in text
