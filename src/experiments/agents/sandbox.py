"""Command lines that start a server in bubblewrap, or without it if the user says so.

In the sandbox a server sees the system's programs and its own environment read-only, one writable
folder (`/episode`), an empty home folder, no network, no other process and no variable of the
user's. `prlimit` bounds CPU time, address space, file size, processes and open files.
"""

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.agents.server_specs import ServerSpec
from experiments.errors import ConfigError

EPISODE = "/episode"
_ENVIRONMENT = "/environment"
MARK = "EXPERIMENTS_SERVER"
MODES = ("auto", "bwrap", "none")
_FILE_BYTES, _PROCESSES, _OPEN_FILES = 64 << 20, 256, 256
_SEALED = ("--remount-ro", "/", "--")
_SYSTEM = ("/bin", "/lib", "/lib64", "/lib32", "/sbin")


@functools.cache
def bwrap_problem() -> str | None:
    """Return why bubblewrap cannot be used here, or None; found by starting a program in it."""
    for program in ("bwrap", "prlimit"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    command = [*_isolation(), *_system(), *_SEALED, "/usr/bin/env", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def resolved(mode: str) -> str:
    """Return `bwrap`, `none` or `stateless` (no sandbox, so only servers without files) for a mode.

    Raises:
        ConfigError: the mode is unknown, or it is `bwrap` and bubblewrap does not work here.
    """
    if mode not in MODES:
        raise ConfigError(f"sandbox={mode}: allowed are {', '.join(MODES)}.")
    if mode == "none":
        return "none"
    problem = bwrap_problem()
    if problem and mode == "bwrap":
        raise ConfigError(
            f"sandbox=bwrap: bubblewrap does not work here ({problem}): install Debian's package "
            "bubblewrap, or run trusted models only with sandbox=none."
        )
    return "stateless" if problem else "bwrap"


@dataclass(frozen=True)
class Place:
    """Where a server runs."""

    folder: Path
    """The episode folder, which the server may write."""
    sandbox: str
    """`bwrap`, `none` or `stateless`, from `resolved`."""

    def inward(self, value: Any) -> Any:
        """Return arguments with the server's own path of the episode folder."""
        return value if self.sandbox == "bwrap" else _replaced(value, str(self.folder))

    def outward(self, text: str) -> str:
        """Return a result with the path that a model is told, equal in every folder."""
        hidden = self.sandbox == "bwrap"
        return text if hidden else text.replace(str(self.folder), EPISODE)


def command(spec: ServerSpec, environment: Path, place: Place, mark: str) -> list[str]:
    """Return the command that starts a server.

    Args:
        spec: the server.
        environment: the folder of its packages.
        place: where it runs.
        mark: value of the variable `MARK`, by which the server's process is found again.

    Raises:
        ConfigError: a stateful server would run without a sandbox that the user has not waived.
    """
    if place.sandbox == "stateless" and spec.stateful:
        raise ConfigError(
            f"server {spec.name} writes files and bubblewrap does not work here "
            f"({bwrap_problem()}): install it, or run trusted models only with sandbox=none."
        )
    inside = place.sandbox == "bwrap"
    words = [*_limits(spec), *_program(spec, Path(_ENVIRONMENT) if inside else environment)]
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}
    variables |= {**spec.env, MARK: mark}
    if inside:
        mounts = ["--ro-bind", str(environment), _ENVIRONMENT]
        return [*_bwrap(variables, place.folder), *mounts, *_SEALED, *words]
    pairs = [f"{key}={value}" for key, value in place.inward(variables).items()]
    return ["env", "-i", *pairs, *place.inward(words)]


def system_command(words: list[str], variables: dict[str, str], place: Place) -> list[str]:
    """Return a command that runs a program of the system as a server would be run."""
    if place.sandbox == "bwrap":
        return [*_bwrap({"PATH": "/usr/bin:/bin", **variables}, place.folder), *_SEALED, *words]
    pairs = [f"{key}={value}" for key, value in {"PATH": "/usr/bin:/bin", **variables}.items()]
    return ["env", "-i", *pairs, *place.inward(words)]


def _limits(spec: ServerSpec) -> list[str]:
    program = shutil.which("prlimit")
    if program is None:
        return []
    words = [program, f"--cpu={spec.cpu_seconds}", f"--fsize={_FILE_BYTES}", "--core=0"]
    words += [f"--nproc={_PROCESSES}", f"--nofile={_OPEN_FILES}"]
    if spec.address_space_mb is not None:
        words.append(f"--as={spec.address_space_mb << 20}")
    return [*words, "--"]


def _program(spec: ServerSpec, environment: Path) -> list[str]:
    """Return program and arguments with the environment's paths; scripts are run by its Python."""
    program, *rest = spec.command
    if program == "node":
        script, *arguments = rest
        node = Path(shutil.which("node") or "node").resolve()
        return [str(node), str(environment / script), *arguments]
    first = [str(environment / "bin" / "python")]
    return [*first, *([] if program == "bin/python" else [str(environment / program)]), *rest]


def _bwrap(variables: dict[str, str], folder: Path) -> list[str]:
    words = [*_isolation(), *_system(), "--bind", str(folder), EPISODE, "--chdir", EPISODE]
    return words + [w for key, value in variables.items() for w in ("--setenv", key, value)]


def _isolation() -> list[str]:
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    return [*words, "--cap-drop", "ALL"]


def _system() -> list[str]:
    """Return mounts: programs read-only, and the Python that the environments were built with."""
    words = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    words += ["--size", str(_FILE_BYTES), "--tmpfs", "/tmp"]
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for place in {sys.base_prefix, str(_node_prefix())}:
        if not place.startswith("/usr") and place != "None":
            words += ["--ro-bind", place, place]
    return words


def _node_prefix() -> Path | None:
    """Return the folder of an installation of Node outside /usr."""
    node = shutil.which("node")
    return Path(node).resolve().parents[1] if node else None


def _replaced(value: Any, folder: str) -> Any:
    """Return a JSON value with the path of the episode replaced in every text."""
    if isinstance(value, str):
        return value.replace(EPISODE, folder)
    if isinstance(value, list):
        return [_replaced(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, folder) for key, item in value.items()}
    return value
