"""What a user sees of launchers: the same records from each, one sentence for a mistake."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from conftest import ROOT, SMOKE, Cli, environment
from experiments import records
from experiments.errors import ConfigError
from experiments.records import Record
from experiments.runtime import placement
from experiments.sweeps.launching import launcher_settings
from experiments.sweeps.launching.sweep_job import Labelled
from support import commands


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return commands.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *SMOKE, *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def made(sweep: Path) -> dict[int, Record]:
    found = records.read_all(sweep)
    assert len({r.run_id for r in found}) == len(found), "a run was made twice"
    return {r.job: r for r in found if r.job is not None}


@pytest.mark.slow
def test_the_plugins_are_discovered_and_one_process_is_the_default() -> None:
    found = {c.__name__ for c in Plugins.instance().discover(Launcher)}
    ours = {"OneProcessLauncher", "JoblibLauncher", "SubmititLauncher", "RayLauncher"}
    assert ours <= found
    names = {"": "OneProcess", "one_process": "OneProcess", "joblib": "Joblib",
             "submitit": "Submitit", "ray": "Ray"}  # fmt: skip
    for name, cls in names.items():
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            chosen = [f"hydra/launcher={name}"] if name else []
            cfg = compose("config", overrides=chosen, return_hydra_config=True)
        target = f"hydra_plugins.experiments_launchers.{cls}Launcher"
        assert cfg.hydra.launcher._target_ == target


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hydra/launcher=jobilb"], "hydra/launcher=jobilb: there is no such config file; did you "
         "mean 'joblib'?"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: must be "
         "at least 1, or null."),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=two"], "hydra.launcher.n_jobs: Value "
         "'two' of type 'str' could not be converted to Integer."),
        (["hydra/launcher=joblib", "hydra.launcher.n_job=2"], "hydra.launcher.n_job: "
         "`hydra.launcher` has no key 'n_job'; did you mean 'n_jobs'?"),
        (["hydra/launcher=submitit", "hydra.launcher.cluster=slrum"], "hydra.launcher.cluster=slrum"
         ": allowed are slurm, local."),
        (["hydra/launcher=ray", "hydra.launcher.gpus_per_run=2"], "hydra.launcher.gpus_per_run=2: "
         "a run uses at most one GPU; set 0 to 1."),
        (["hydra.sweep.dir=/dev/null/sweep"], "cannot be written (Not a directory): make room or "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_nothing_starts(
    cli: Cli, arguments: list[str], sentence: str
) -> None:
    done = cli("-m", *SMOKE, "seed=0,1", *arguments)
    assert done.returncode == 1
    [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert sentence in line
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("module", "extra"), [("submitit", "slurm"), ("ray", "ray")])
def test_a_missing_package_is_named_with_its_extra(
    cli: Cli, tmp_path: Path, module: str, extra: str
) -> None:
    blocker = tmp_path / "blocked" / "sitecustomize.py"
    blocker.parent.mkdir()
    blocker.write_text(f"import sys; sys.modules[{module!r}] = None")
    done = cli("-m", *SMOKE, f"hydra/launcher={module}", "seed=0,1", PYTHONPATH=str(blocker.parent))
    assert done.returncode == 1
    assert f"needs the package {module}, which is not installed: run pip install -e '.[{extra}]'." \
        in done.stderr  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_read_only_or_full_folder_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        (small / "ballast").write_bytes(bytes(60 << 10))
        full = cli("-m", *SMOKE, "seed=0,1", f"hydra.sweep.dir={small}/sweep")
        single = cli(*SMOKE, f"hydra.run.dir={small}/run")
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        read_only = cli("-m", *SMOKE, "seed=0,1", f"hydra.sweep.dir={small}/other")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    for done, reason in (
        (full, "No space left"),
        (single, "No space left"),
        (read_only, "Read-only"),
    ):
        assert done.returncode == 1
        [line] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
        assert reason in line or "the disk is full" in line or "jobs failed" in line
        assert "Traceback" not in done.stderr


def test_lines_of_jobs_that_share_a_terminal_are_whole_and_labelled() -> None:
    terminal = io.StringIO()
    one, other = Labelled(terminal, "[1] "), Labelled(terminal, "[2] ")
    print("step", end=" ", file=one)
    print("loading", file=other)
    print("4", "ended", sep="\n", end="", file=one)
    assert terminal.getvalue() == "[2] loading\n[1] step 4\n"
    assert other.line_complete and not one.line_complete


def test_a_gpu_is_given_to_one_process_unless_more_are_asked_for() -> None:
    assert placement.assign(["0", "1"], None, 1, cores=64) == ["0", "1"]
    assert placement.assign(["0", "1"], 1, 1, cores=64) == ["0"]
    assert placement.assign(["0", "1"], 4, 2, cores=64) == ["0", "1", "0", "1"]
    with pytest.raises(
        ConfigError, match=r"n_jobs=3 on 2 visible GPUs \(0, GPU-ab\).*per_gpu=2 or"
    ):
        placement.assign(["0", "GPU-ab"], 3, 1, cores=64)


def test_visible_gpus_are_those_the_environment_leaves() -> None:
    assert placement.visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-ab"}) == ["2", "GPU-ab"]
    for none in ("", "-1"):
        assert placement.visible_gpus({"CUDA_VISIBLE_DEVICES": none}) == []


def test_all_problems_of_a_launcher_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        launcher_settings.check(
            launcher_settings.Submitit(cluster="pbs", cpus_per_task=0, gpus_per_node=8, mem_gb=0)
        )
    for word in ("cluster=pbs", "cpus_per_task=0", "gpus_per_node=8", "mem_gb=0"):
        assert f"hydra.launcher.{word}" in str(error.value)
    with pytest.raises(ConfigError, match="describe a cluster that is started here"):
        launcher_settings.check(launcher_settings.Ray(address="auto", num_cpus=2))


LONG = ("trainer.max_steps=300", "trainer.save_steps=50", "eval.base=false")


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    line = (*LONG, "seed=0,1", "hydra.sweep.dir=sweep")
    process = start(tmp_path, *line, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert process.stdout is not None
    for text in process.stdout:
        if "] step" in text:
            break
    process.kill()
    process.communicate(timeout=60)  # ends when the last worker has closed its side
    assert {r.status for r in made(tmp_path / "sweep").values()} == {"interrupted"}
