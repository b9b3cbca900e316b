"""What tests share: composing configs, small runs, the command line, the shared real data."""

import copy
import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import settings
from omegaconf import DictConfig, open_dict

from experiments import config
from experiments.config import RunConfig
from experiments.sweeps.hydra.composing import Composer
from support import commands

pytest_plugins = ["support.agent_servers"]
ROOT = commands.ROOT
environment = commands.environment
SHARED = ROOT.parent / "shared"
# A whole run in two seconds: every part is real, the scores mean nothing.
SMOKE = (
    "model=tiny_64",
    "trainer=smoke",
    "eval=smoke",
    "tracker=none",
    "data.train_rows=27",
    "data.validation_rows=9",
    "data.test_rows=9",
    "data.unseen_values_rows=0",
    "data.unseen_tools_rows=0",
    "eval.max_new_tokens=8",
)

# The same with four rows of each kind, and without scores of the base.
FEW_ROWS = (
    *(*SMOKE, "eval.base=false", "data.validation_rows=4", "data.test_rows=4"),
    *("eval.limit=4", "eval.loss_rows=4"),
)

# The files that take longest, fast or slow tests of them: a worker begins with these.
LONGEST = (
    *("runs/test_resume.py", "cli/test_commands.py", "sweeps/test_shared_sweeps.py"),
    # Ray gives up if it does not start within 30 s: not beside the first commands of .ci/run.
    *("runtime/test_distributed_runs.py", "contracts/test_launchers.py", "runs/test_execute.py"),
    *("sweeps/test_search_sweeps.py", "records/test_hub_pushing.py", "sweeps/test_sweep_files.py"),
    *("models/test_qlora.py", "runs/test_model_cache.py", "planning/test_memory_and_hours.py"),
    *("planning/test_memory.py", "test_wheel.py", "runs/test_reuse.py", "test_notebook.py"),
    *("runtime/test_out_of_memory.py", "reports/test_report_pages.py", "config/test_config.py"),
    *(
        "sweeps/test_runtimes_sweeps.py",
        "records/test_code_identity.py",
        "data/test_shared_rows.py",
    ),
    *(
        "calibration/test_pretrain.py",
        "training/test_half_precision.py",
        "data/test_hub_dataset.py",
    ),
    *("training/test_losses_at_steps.py", "reports/test_dashboard.py", "sweeps/test_study.py"),
    *("equivalence/test_generation.py", "data/test_evaluation_rows.py", "reports/test_report.py"),
    *("sweeps/test_tuned_sweeps.py", "contracts/test_model_families.py", "sweeps/test_postgres.py"),
)

# A shell starts its background jobs deaf to Ctrl-C, and so are the commands that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_modules_frozen = [0]  # how many there were
gc.disable()  # until all tests are collected, which imports the libraries

# Folders of tests are in memory where there is room: databases and checkpoints wait for a disk.
if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

# A busy machine is no failure: no test of this suite asserts a time.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end."""
    last = len(LONGEST)
    place = {f"tests/{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.location[0], last))


def pytest_collection_finish() -> None:
    """Leave the million objects of the libraries out of each later garbage collection."""
    gc.freeze()
    gc.enable()


def pytest_runtest_logfinish() -> None:
    """Do the same with libraries that a test imported: a run collects garbage twice, fully."""
    if len(sys.modules) > _modules_frozen[0] + 200:
        gc.collect()
        gc.freeze()
        _modules_frozen[0] = len(sys.modules)


Load = Callable[..., RunConfig]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def composed(*overrides: str) -> DictConfig:
    """Compose the project's config as train.py would, or copy what was composed before."""
    os.environ["EXPERIMENTS_ROOT"] = str(ROOT)
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    config = _composer().compose(overrides)
    with open_dict(config):
        del config["hydra"]
    return config


@functools.cache
def _composer() -> Composer:
    """Return what composes jobs, exactly as Hydra does, from files that are read once."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    return Composer(loader, master)


def load(*overrides: str) -> RunConfig:
    """Compose and load a run."""
    return config.load(composed(*overrides))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run train.py, or `python -m experiments`, as a user would, from an empty folder.

    `fresh` also imports the libraries, as a user's process does.
    """

    def run(
        *arguments: str, module: bool = False, fresh: bool = False, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        program = ["-m", "experiments"] if module else [str(ROOT / "train.py")]
        start = subprocess.run if fresh else commands.run
        return start(
            [sys.executable, *program, *arguments],
            cwd=tmp_path,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def shared() -> Path:
    """Return the folder of real data, or skip."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the shared real data are not beside this checkout")
    return SHARED / "data"
