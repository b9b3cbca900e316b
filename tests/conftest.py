"""What tests share: composing configs, small runs, the command line, the shared real data."""

import copy
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import DictConfig

from experiments import config
from experiments.config import RunConfig, choices

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
# A whole run in about three seconds: every part is real, the scores mean nothing.
SMOKE = (
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

# A shell starts its background jobs deaf to Ctrl-C, and so are the commands that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure: no test of this suite asserts a time.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

Load = Callable[..., RunConfig]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def composed(*overrides: str) -> DictConfig:
    """Compose the project's config as train.py would, or copy what was composed before."""
    os.environ["EXPERIMENTS_ROOT"] = str(ROOT)
    return copy.deepcopy(_composed(overrides))


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=choices.quoted(overrides))


def load(*overrides: str) -> RunConfig:
    """Compose and load a run."""
    return config.load(composed(*overrides))


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a user's shell, without what the test runner adds."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HYDRA"))}
    return own | {"EXPERIMENTS_ROOT": str(ROOT), "OMP_NUM_THREADS": "1"} | extra


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run train.py, or `python -m experiments`, as a user would, from an empty folder."""

    def run(
        *arguments: str, module: bool = False, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        program = ["-m", "experiments"] if module else [str(ROOT / "train.py")]
        return subprocess.run(
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
