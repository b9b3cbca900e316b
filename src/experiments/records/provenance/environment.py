"""Record how a run was produced: code and libraries that affect its results, hardware, command.

Two runs have the same results only if their identities agree. The rest of the provenance is for
readers.
"""

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.config import choices, folders
from experiments.records.provenance import equal_code
from experiments.runtime import distributed

_LIBRARIES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "bitsandbytes"),
    *("numpy", "datasets", "jsonschema"),
)


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that can affect a result."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def of_run(device: str) -> dict[str, Any]:
    """Return the provenance of a run, without user name, host name or environment variables."""
    commit, dirty = _checkout(folders.checkout())
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "command": command(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cpu": cpu(),
        "cpu_count": os.cpu_count(),
        "threads": _threads(),
        "processes": distributed.world_size(),
        "device": device,
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def _checkout(root: Path | None) -> tuple[str | None, bool | None]:
    """Return the commit of a checkout, and whether code in it is not committed."""
    if root is None:
        return None, None
    # A report that was just written does not affect a run, nor do files that git does not track,
    # except code that could be imported.
    changed = _git(
        root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!outputs/reports"
    )
    code = ("src/*.py", "src/*.jinja", "train.py")
    added = _git(root, "ls-files", "--others", "--exclude-standard", "--", *code)
    dirty = None if changed is None else bool(changed + (added or ""))
    return _git(root, "rev-parse", "HEAD"), dirty


def is_committed(folder: Path) -> bool:
    """Return whether a report's folder is committed in its present state.

    Tables that git ignores because they are written from the records do not matter; an ignored
    record does.
    """
    if not folder.is_dir() or not _git(folder, "ls-files", "--", "."):
        return False
    ignored = ("ls-files", "--others", "--ignored", "--exclude-standard", "--", "*.json", "*.gz")
    return not _git(folder, "status", "--porcelain", "--", ".") and not _git(folder, *ignored)


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Return the keys in which two identities differ; code that computes the same does not differ.

    >>> differences({"precision": "fp32", "libraries": {"trl": "1"}}, {"precision": "bf16"})
    ['precision', 'libraries']
    """
    first, second = equal_code.latest(first), equal_code.latest(second)
    return [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]


def command() -> str:
    """Return the command line that started this process, in a form that can be typed again."""
    # Hide the password of a database URL.
    redacted = [re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", arg) for arg in sys.argv[1:]]
    arguments = [choices.unquoted(arg) for arg in redacted]
    program = Path(sys.argv[0]).name  # or a console script with the name of its command
    start = ["python", program] if program.endswith(".py") else program.split()
    return shlex.join([*start, *arguments])


def _threads() -> int | None:
    """Return the number of torch's threads, which can affect the last digits of a result."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def _git(root: Path, *arguments: str) -> str | None:
    try:
        completed = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return completed.stdout.strip() if completed.returncode == 0 else None


def cpu() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
