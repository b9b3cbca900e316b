"""Read `conf/agent/NAME.yaml`: how an agent acts, and the limits on its episodes."""

from dataclasses import dataclass, fields
from pathlib import Path

from experiments.agents import spec_files
from experiments.config import folders
from experiments.errors import ConfigError, did_you_mean

RETRIEVERS = ("all", "bm25", "oracle")
TOOLS_FORMS = ("openai", "compact")
KINDS = ("replay", "random", "single", "react", "plan")


@dataclass(frozen=True)
class AgentSpec:
    """How an agent acts."""

    name: str
    kind: str
    """One of `KINDS`."""
    tools_form: str = "openai"
    """How tools are shown to a model: `openai`, or `compact` (first sentence, names and types)."""
    retriever: str = "all"
    """Tools that are shown: `all` of the servers, the `top_k` that fit the question by `bm25`, or
    those of the gold calls (`oracle`, which bounds what a retriever can reach)."""
    top_k: int = 8
    """Number of tools that `bm25` chooses."""
    max_turns: int = 8
    """Turns after which an episode ends."""
    max_replans: int = 1
    """Further plans that an agent of kind `plan` may make after a call that failed."""
    max_calls_a_turn: int = 4
    """Calls of one turn that are made; further ones are refused."""
    result_tokens: int = 96
    """Tokens of a result that are shown to a model."""
    new_tokens: int = 128
    """Limit on the tokens of one answer."""
    call_timeout_s: int = 5
    """Limit on the wall time of a call, in seconds."""
    episode_timeout_s: int = 60
    """Limit on the wall time that the calls of an episode take, in seconds."""


def read(name: str) -> AgentSpec:
    """Return the spec of a name.

    Raises:
        ConfigError: there is no such file, or it is not a valid spec.
    """
    paths = folders.files([folder / "agent" for folder in folders.all_of("conf")])
    if name not in paths:
        raise ConfigError(f"agent {name!r}: {did_you_mean(name, paths)}.")
    return _read_file(paths[name])


def _read_file(path: Path) -> AgentSpec:
    spec = spec_files.read(path, AgentSpec, "agent")
    if spec.kind not in KINDS:
        raise ConfigError(f"{path}: kind={spec.kind}: {did_you_mean(spec.kind, KINDS)}.")
    words = {"tools_form": TOOLS_FORMS, "retriever": RETRIEVERS}
    for key, choices in words.items():
        if (value := getattr(spec, key)) not in choices:
            raise ConfigError(f"{path}: {key}={value}: {did_you_mean(str(value), choices)}.")
    for key in (key.name for key in fields(AgentSpec)[2:] if key.name not in words):
        value = getattr(spec, key)
        least = 0 if key == "max_replans" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{path}: {key}={value!r} must be a whole number of {least} or more.")
    return spec
