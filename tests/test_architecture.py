"""Rules of the house that a machine can hold."""

import ast
import dataclasses
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT
from experiments.config import RunConfig

SOURCE = ROOT / "src" / "experiments"
LIGHT = (
    *("config", "records", "records.tracking", "records.hub", "records.archive"),
    *("runtime.distributed", "runtime.budget", "runtime.placement", "data.toolworld"),
    *("toolcalls.bfcl", "toolcalls.plan_graphs", "toolcalls.schemas", "toolcalls.parser"),
    *("analysis.statistics", "analysis.arms", "analysis.arms.table", "analysis.claims"),
    *("analysis.bfcl_scores", "analysis.plan_graph_scores", "evaluation.metrics"),
    *("reports", "reports.dashboard", "reports.explain.showing", "runs.verification"),
    *("planning.estimate", "planning.plan_table", "cli.main"),
    *("sweeps.study", "sweeps.study.reporting", "sweeps.snapshot", "sweeps.status", "sweeps.plan"),
    *("sweeps.launching.sweep_job", "sweeps.launching.dispatch", "sweeps.launching.joblib"),
    *("sweeps.launching.one_process", "sweeps.launching.submitit", "sweeps.launching.ray"),
)
PACKAGES = {
    *("runtime", "config", "toolcalls", "records", "data", "models", "evaluation", "training"),
    *("planning", "analysis", "reports", "runs", "sweeps", "calibration", "cli", "agents"),
}


def package_of(path: Path) -> str:
    """Return the part of the project that a file belongs to: a child of the package, or a door."""
    if path.is_relative_to(SOURCE):
        return path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "train" if path.name == "train.py" else "hydra_plugins"


def imported(path: Path) -> Iterator[str]:
    """Yield the packages that a file imports from, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "experiments" and rest:
                yield rest.partition(".")[0]
            elif first == "hydra_plugins":
                yield first


def arrows() -> set[tuple[str, str]]:
    """Return the imports between packages; the package's own __init__ only re-exports lazily."""
    plugins = (ROOT / "src" / "hydra_plugins").glob("*.py")
    modules = (file for file in SOURCE.rglob("*.py") if file != SOURCE / "__init__.py")
    files = [*modules, *plugins, ROOT / "train.py"]
    found = {(package_of(file), name) for file in files for name in imported(file)}
    return {(here, there) for here, there in found if here != there}


def test_the_root_holds_packages_and_nothing_loose_but_errors_and_main() -> None:
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == PACKAGES
    assert {p.name for p in SOURCE.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}


def test_at_most_20_packages_and_100_imports_between_them() -> None:
    found = arrows()
    assert len({name for arrow in found for name in arrow}) <= 20
    assert len(found) <= 100, len(found)


def test_imports_point_down() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports as lint; exit(lint(no_cache=True))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_file_is_longer_than_350_lines_and_functions_are_short() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    long = {str(file): n for file in files if (n := len(file.read_text().splitlines())) > 350}
    assert not long
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    lengths = sorted((n.end_lineno or 0) - n.lineno + 1 for n in nodes if isinstance(n, kinds))
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 25


def test_no_module_and_no_class_has_the_name_of_another() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))
    modules = [f.parent.name if f.stem == "__init__" else f.stem for f in files]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    for names in (modules, classes):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_init_files_hold_no_logic() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    for path in SOURCE.rglob("__init__.py"):
        if path != SOURCE / "__init__.py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                assert isinstance(node, allowed), f"{path}:{node.lineno}"
                if isinstance(node, ast.Assign):
                    assert ast.unparse(node.targets[0]) == "__all__", f"{path}:{node.lineno}"


IMPORT_ALL = """
import importlib, sys
for module in {light!r}:
    importlib.import_module("experiments." + module)
    heavy = {{"torch", "transformers", "trl", "peft", "datasets", "matplotlib"}} & set(sys.modules)
    assert not heavy, (module, heavy)
"""


def test_light_modules_load_nothing_heavy() -> None:
    """Import them one after another: what one of them loads stays loaded."""
    code = IMPORT_ALL.format(light=LIGHT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_top_level_config_keys_are_a_decision() -> None:
    assert [f.name for f in dataclasses.fields(RunConfig)] == [
        *("model", "data", "lora", "trainer", "eval", "tracker", "hardware", "budget", "hub"),
        *("plan", "seed", "name", "resume", "resume_from", "rerun", "retry_oom", "rank", "lr"),
        *("sweeps", "resolved_from"),
    ]


def test_no_catch_all_modules() -> None:
    names = {path.stem for path in (ROOT / "src").rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}


def test_train_py_stays_a_page() -> None:
    assert len((ROOT / "train.py").read_text(encoding="utf-8").splitlines()) <= 40
