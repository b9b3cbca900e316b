"""Read `conf/servers/NAME.yaml`: how an MCP server is started, and the listing it must have."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.agents import spec_files
from experiments.config import folders
from experiments.errors import ConfigError, did_you_mean

ENVIRONMENTS = ("python_sdk2", "python_sdk1", "node")


@dataclass(frozen=True)
class ServerSpec:
    """How to start one server. Paths in `command` and `env` are those inside the sandbox."""

    name: str
    environment: str
    """One of `ENVIRONMENTS`: the packages that the server is started from."""
    command: list[str]
    """Program and arguments; the program is looked up in the environment, then on the system."""
    stateful: bool
    """Whether it reads or writes files; without a sandbox only the other servers are started."""
    env: dict[str, str] = field(default_factory=dict)
    """All variables that the server sees, besides PATH, HOME and LANG."""
    writes: list[str] = field(default_factory=list)
    """Tools that change files."""
    error_text: str | None = None
    """Regular expression of results that report an error without the protocol's error flag."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Maps regular expressions of what differs from day to day in results to its replacement."""
    address_space_mb: int | None = 2048
    """Limit on the address space of a process in MiB; null = no limit."""
    cpu_seconds: int = 600
    """Limit on the CPU time of a process over its life, in seconds."""
    start_timeout_s: float = 60
    """Limit on the wall time until the listing has arrived, in seconds."""
    tools: dict[str, str] = field(default_factory=dict)
    """Maps each tool of the pinned version to the hash of its description; empty = unchecked."""


def read_all() -> dict[str, ServerSpec]:
    """Return the specs of all files in `conf/servers`, by name.

    Raises:
        ConfigError: a file is not a valid spec.
    """
    places = [folder / "servers" for folder in folders.all_of("conf")]
    return {name: read(path) for name, path in folders.files(places).items()}


def chosen(names: list[str]) -> dict[str, ServerSpec]:
    """Return the specs of the named servers, or of all if none is named.

    Raises:
        ConfigError: there is no server of that name, or its file is not a valid spec.
    """
    specs = read_all()
    for name in names:
        if name not in specs:
            raise ConfigError(f"server {name!r}: {did_you_mean(name, specs)}.")
    return {name: specs[name] for name in names} if names else specs


def read(path: Path) -> ServerSpec:
    """Return the spec of one file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    spec = spec_files.read(path, ServerSpec, "server")
    if problem := _problem(spec):
        raise ConfigError(f"{path}: {problem}.")
    return spec


def _problem(spec: ServerSpec) -> str | None:
    """Return what is wrong with a spec's values."""
    if spec.environment not in ENVIRONMENTS:
        return f"environment={spec.environment}: {did_you_mean(spec.environment, ENVIRONMENTS)}"
    wrong = [
        ("name", "__" not in spec.name, "a file name without `__`"),
        ("command", _texts(spec.command) and bool(spec.command), "a list of words"),
        ("stateful", isinstance(spec.stateful, bool), "true or false"),
        ("env", isinstance(spec.env, dict) and _texts(list(spec.env.values())), "texts by name"),
        ("writes", _texts(spec.writes), "a list of tools"),
        ("error_text", _is_pattern(spec.error_text), "a regular expression or null"),
        (
            "replaced",
            isinstance(spec.replaced, dict) and all(map(_is_pattern, spec.replaced)),
            "texts by regular expression",
        ),
        ("tools", isinstance(spec.tools, dict), "hashes by tool"),
        ("cpu_seconds", _positive(spec.cpu_seconds), "a positive number"),
        ("start_timeout_s", _positive(spec.start_timeout_s), "a positive number"),
        (
            "address_space_mb",
            spec.address_space_mb is None or _positive(spec.address_space_mb),
            "a positive number or null",
        ),
    ]
    return next(
        (f"{key}={getattr(spec, key)!r} must be {text}" for key, ok, text in wrong if not ok), None
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_pattern(value: Any) -> bool:
    if value is None:
        return True
    try:
        re.compile(value)
    except (re.error, TypeError):
        return False
    return True
