"""What a smoke run takes beside the imports it cannot do without, printed; nothing is asserted.

In CPU seconds, one thread each, because other work on a machine changes the time by the clock.
"""

import resource
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, environment

# Whatever else a run imports counts as the run's own.
BARE = "import torch, transformers, trl, peft, datasets"
RUN = ("trainer=smoke", "eval=smoke", "tracker=none", "hardware=cpu")
REPEATS = 3


def cpu_seconds(folder: Path, *words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(), check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_a_smoke_run_beside_its_bare_imports(tmp_path: Path) -> None:
    pairs = [
        (
            cpu_seconds(tmp_path, "-c", BARE),
            cpu_seconds(tmp_path, str(ROOT / "train.py"), *RUN, f"hydra.run.dir=run_{number}"),
        )
        for number in range(REPEATS)
    ]
    imports, run = (min(times) for times in zip(*pairs, strict=True))
    print(f"\nsmoke run {run:.1f} CPU s, bare imports {imports:.1f} s: {run / imports:.2f} times")
