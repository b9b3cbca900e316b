"""Build the pinned environments that servers are started from, in the user's cache folder.

Each is built once from the files in `conf/servers/environments`: two virtual environments, because
no version of the `mcp` package runs all servers, and a folder of npm packages. Every package is
checked against a committed hash, and no script of a package is run during the installation.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from experiments.config import folders
from experiments.errors import ConfigError
from experiments.runtime import disk
from experiments.runtime.progress import log

_UNREACHABLE = (
    *("connection broken", "connectionerror", "newconnectionerror", "name resolution"),
    *("timed out", "enotfound", "eai_again", "econnrefused", "etimedout", "network is unreachable"),
)
"""What pip and npm print, in lower case, if the registry does not answer."""
_COMPLETE = ".complete"


def folder_of(environment: str) -> Path:
    """Return where an environment is, or will be: the name has the hash of its pins."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.base_prefix}".encode())
    for path in _pins(environment):
        digest.update(path.read_bytes())
    return disk.user_cache() / "servers" / f"{environment}-{digest.hexdigest()[:12]}"


def is_built(environment: str) -> bool:
    """Return whether an environment is complete."""
    return (folder_of(environment) / _COMPLETE).is_file()


def missing_program(environment: str) -> str | None:
    """Return the program that an environment needs and the system does not have."""
    needed = ("node", "npm") if environment == "node" else ()
    return next((program for program in needed if shutil.which(program) is None), None)


class RegistryUnreachable(ConfigError):
    """The packages of an environment cannot be downloaded, because the registry does not answer."""


def build(environment: str) -> Path:
    """Return the folder of an environment, which is built if it is not complete.

    Raises:
        RegistryUnreachable: the registry does not answer.
        ConfigError: a program is missing, or a hash differs.
    """
    folder = folder_of(environment)
    if program := missing_program(environment):
        raise ConfigError(
            f"environment {environment} needs {program}, which is not installed: install Node 20 "
            "or newer, or name only servers that need none."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if not is_built(environment):
            log(f"  building {folder}")
            shutil.rmtree(folder, ignore_errors=True)
            (_build_node if environment == "node" else _build_python)(folder, _pins(environment))
            (folder / _COMPLETE).touch()
    return folder


def built(environment: str) -> Path:
    """Return the folder of an environment.

    Raises:
        ConfigError: it has not been built.
    """
    if not is_built(environment):
        raise ConfigError(
            f"environment {environment} is not built ({folder_of(environment)}): run `make "
            "servers` or `python -m experiments servers --build`."
        )
    return folder_of(environment)


def _pins(environment: str) -> list[Path]:
    place = folders.conf() / "servers" / "environments"
    if environment == "node":
        return [place / "node" / name for name in ("package.json", "package-lock.json")]
    return [place / f"{environment}.txt"]


def _build_python(folder: Path, pins: list[Path]) -> None:
    _execute([sys.executable, "-m", "venv", str(folder)], folder)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    install += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    _execute([*install, "-r", str(pins[0])], folder)


def _build_node(folder: Path, pins: list[Path]) -> None:
    folder.mkdir()
    for path in pins:
        shutil.copy(path, folder)
    _execute(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)


def _execute(command: list[str], folder: Path) -> None:
    place = folder if folder.is_dir() else folder.parent
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise _failure(Path(command[0]).name, folder, f"{done.stdout}\n{done.stderr}")


def _failure(program: str, folder: Path, output: str) -> ConfigError:
    """Return the error of a build, from what pip or npm printed."""
    lines = output.strip().splitlines() or ["no message"]
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
    failed = f"{program} could not build {folder} ({said.strip()})"
    if any(word in output.lower() for word in _UNREACHABLE):
        return RegistryUnreachable(f"{failed}: check the network and the registry, then run again.")
    return ConfigError(
        f"{failed}: the registry has not the files that conf/servers/environments pins; take the "
        "file of the version that this project was installed with."
    )
