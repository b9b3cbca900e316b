"""A run in a process of its own, stopped at a step."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, SMOKE, environment
from support import commands

# How often a test kills a process at random; `make test-nightly` kills in more phases of a run.
KILLS = int(os.environ.get("EXPERIMENTS_KILLS", "2"))
LONG = (*SMOKE, "trainer.max_steps=14", "trainer.save_steps=2", "lora.lora_dropout=0.1")


def start(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    return commands.Popen(
        [sys.executable, str(ROOT / "train.py"), *LONG, *overrides, f"hydra.run.dir={folder}"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def stop_at_step(process: "subprocess.Popen[str]", step: int, how: signal.Signals) -> str:
    """Send a signal when the log shows the step; return the rest of the log."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step") and int(line.split()[1].split("/")[0]) >= step:
            process.send_signal(how)
            break
    rest, _ = process.communicate(timeout=60)
    return rest
